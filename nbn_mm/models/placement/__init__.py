"""Which BN layers become NBN, who owns the magnitude, and the way back (fold)."""
from .apply import apply_nbn, replace_modules
from .apply_compound import apply_compound_bn
from .compound_owner import CompoundOwner, frequency_partition
from .fold import FoldReport, fold, fold_classifier, fold_norm
from .fold_config import fold_model_config
from .owner import NBNOwner
from .selection import batch_norms, group_layers, select_layers

__all__ = [
    'CompoundOwner', 'FoldReport', 'NBNOwner', 'apply_compound_bn', 'apply_nbn', 'batch_norms', 'fold',
    'fold_classifier', 'fold_model_config', 'fold_norm', 'frequency_partition', 'group_layers',
    'replace_modules', 'select_layers'
]
