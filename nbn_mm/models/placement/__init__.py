"""Which BN layers become NBN, who owns the magnitude, and the way back (fold)."""
from .apply import apply_nbn, replace_modules
from .owner import NBNOwner
from .selection import batch_norms, group_layers, select_layers

__all__ = ['NBNOwner', 'apply_nbn', 'batch_norms', 'group_layers', 'replace_modules', 'select_layers']
