"""Which BN layers become NBN, who owns the magnitude, and the way back (fold)."""
from .apply import apply_nbn, replace_modules
from .fold import FoldReport, fold, fold_classifier, fold_norm
from .fold_config import fold_model_config
from .owner import NBNOwner
from .selection import batch_norms, group_layers, select_layers

__all__ = [
    'FoldReport', 'NBNOwner', 'apply_nbn', 'batch_norms', 'fold', 'fold_classifier', 'fold_model_config', 'fold_norm',
    'group_layers', 'replace_modules', 'select_layers'
]
