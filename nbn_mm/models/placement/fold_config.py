"""The model config of a folded network: what :func:`nbn_mm.models.placement.fold` does to modules, done to a config."""
from typing import Any

from ..layers import NBNOptions

NORMS = ('NBN', 'AllReduceBN')
# Drop-ins of a host's loss with its state-dict keys; what the host's does not know is taken out.
HOST_LOSSES = dict(FastSeesawLoss='mmdet.SeesawLoss', FastSeesawClsLoss='mmpretrain.SeesawLoss')
# Drop-ins of mmdet's heads with their state-dict keys, which do less at test.
HOST_HEADS = {f'Fast{name}': name for name in (
    'BBoxHead', 'ConvFCBBoxHead', 'Shared2FCBBoxHead', 'Shared4Conv1FCBBoxHead', 'FCNMaskHead', 'StandardRoIHead',
    'CascadeRoIHead')}
# mmpretrain's head with norm layers on rows, and the block that holds them.
ROW_HEADS, ROW_BLOCKS = ('StackedLinearClsHead', ), ('LinearBlock', )
# All types that the folded config names by those of a host; what lies in them is folded by itself.
DROP_INS = frozenset((*HOST_LOSSES, *HOST_HEADS, 'BatchClsDataPreprocessor'))


def fold_model_config(cfg: Any) -> Any:
    """Return the config of the plain BN network that a folded network's state dict fits.

    Args:
        cfg (dict | list | Any): The ``model`` field of a config, or a part of it. It is not changed.

    Returns:
        dict | list | Any: ``NBNBackbone`` becomes its base, ``norm_cfg`` of NBN or AllReduceBN becomes BN, a rectified
        linear predictor becomes linear with a bias, and a long-tail head around it the host's ``LinearClsHead`` with
        cross entropy (its loss plays no part at test; Seesaw stays, being part of the state dict). A fast Seesaw loss
        becomes the host's, and so do the fast heads of detectors. A rectified predictor over anything else stays, as it
        does in the network, and so does a head whose predictor has no bias, which the host's head can't be told.
    """
    if isinstance(cfg, (list, tuple)):
        return type(cfg)(fold_model_config(item) for item in cfg)
    if not isinstance(cfg, dict):
        return cfg
    plain: dict[str, Any] = {key: fold_model_config(value) for key, value in cfg.items()}
    scope, kind = _split(plain.get('type'))
    if kind == 'NBNBackbone':
        plain.pop('nbn', None)
        plain['type'] = plain.pop('base')
    elif kind in NORMS:
        plain = {key: value for key, value in plain.items() if key not in NBNOptions.names()}
        plain['type'] = 'BN'
    elif kind in ROW_HEADS and _split((cfg.get('norm_cfg') or {}).get('type'))[1] in NORMS:
        plain['norm_cfg'] = dict(plain['norm_cfg'], type='BN1d')
    elif kind == 'RectifiedPredictor' and _split(plain.get('base', 'Linear'))[1] == 'Linear':
        plain.pop('base', None)
        plain.pop('rectification', None)
        plain.pop('bias', None)  # the mean of the logits becomes a bias, whether there was one or not
        plain['type'] = 'Linear'
    elif kind in ('LearnableWeightScaling', 'InverseFrequencyLinear'):
        plain = {key: value for key, value in plain.items() if key not in ('kind', 'active')}
        plain['type'] = 'Linear'
    elif kind == 'LongTailClsHead' and _is_linear_with_bias(plain.get('predictor') or dict(type='Linear')):
        plain.pop('predictor', None)
        plain['type'] = f'{scope}LinearClsHead'
        if _split((plain.get('loss') or {}).get('type'))[1] != 'SeesawLoss':
            plain['loss'] = dict(type='CrossEntropyLoss')
    elif kind == 'BatchClsDataPreprocessor':
        plain['type'] = f'{scope}ClsDataPreprocessor'
    elif kind in HOST_LOSSES:
        plain.pop('sync_counts', None)
        plain['type'] = HOST_LOSSES[kind]
    elif kind in HOST_HEADS:
        plain['type'] = f'mmdet.{HOST_HEADS[kind]}'
    elif 'mask_thr_binary' in plain:
        plain.pop('mask_format', None)  # of FastFCNMaskHead
    return plain


def _split(kind: Any) -> tuple[str, Any]:
    """The scope with its dot, or '', and the name of a registered type."""
    if not isinstance(kind, str):
        return '', getattr(kind, '__name__', kind)
    scope, dot, name = kind.rpartition('.')
    return scope + dot, name


def _is_linear_with_bias(predictor: dict[str, Any]) -> bool:
    return _split(predictor.get('type'))[1] == 'Linear' and predictor.get('bias', True)
