"""Host-neutral layers: norms, logit rectification, predictors."""
from .all_reduce_bn import AllReduceBN
from .calibrated_predictor import CalibratedPredictor, LogitAffine
from .compound_bn import CompoundBN
from .compound_options import CompoundOptions
from .cosine_linear import CosineLinear
from .directions import effective_vector
from .disalign_predictor import DisAlignPredictor, disalign_logits
from .inverse_frequency import InverseFrequencyCosineLinear, InverseFrequencyLinear
from .learnable_weight_scaling import LearnableWeightScaling
from .logit_rectification import LogitRectification
from .nbn import NBN
from .nbn_options import NBNOptions
from .rectified_predictor import RectifiedPredictor, build_linear_predictor
from .sync_stats import global_moments, sync_batch_norm, sync_world_size

__all__ = [
    'AllReduceBN', 'CalibratedPredictor', 'CompoundBN', 'CompoundOptions', 'CosineLinear', 'DisAlignPredictor',
    'InverseFrequencyCosineLinear', 'InverseFrequencyLinear', 'LearnableWeightScaling', 'LogitAffine',
    'LogitRectification', 'NBN', 'NBNOptions', 'RectifiedPredictor', 'build_linear_predictor', 'disalign_logits',
    'effective_vector', 'global_moments', 'sync_batch_norm', 'sync_world_size'
]
