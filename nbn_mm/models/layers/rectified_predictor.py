"""Linear predictors with logit rectification behind them."""
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from .logit_rectification import LogitRectification


def _rectify(predictor: nn.Module, inputs: tuple, logits: Tensor) -> Tensor:
    """Forward hook of a rectified predictor (a module-level function, so that the predictor can be pickled)."""
    return predictor.logit_rectification(logits)


def build_linear_predictor(cfg: dict[str, Any]) -> nn.Module:
    """Build a linear predictor in the current scope.

    Args:
        cfg (dict): ``type`` and its arguments. ``'Linear'`` is ``nn.Linear`` in every scope; other names are looked up
            as usual (mmdet's ``'NormedLinear'``, or ``'mmdet.NormedLinear'`` from elsewhere).

    Returns:
        nn.Module: The predictor.

    Raises:
        KeyError: If the name is unknown in the current scope.
    """
    cfg = dict(cfg)
    if cfg.get('type') == 'Linear':
        cfg['type'] = nn.Linear
    elif isinstance(cfg.get('type'), str):
        with MODELS.switch_scope_and_registry(None) as registry:
            if registry.get(cfg['type']) is None:
                raise KeyError(f"predictor {cfg['type']!r} is unknown in the scope {registry.scope!r}. Change "
                               "`predictor` (`cls_predictor_cfg` in mmdet) or its `base`, or name the scope that holds "
                               "it, as in 'mmdet.NormedLinear'.")
    return MODELS.build(cfg)


@MODELS.register_module()
def RectifiedPredictor(base: str = 'Linear', rectification: dict[str, Any] | None = None, **kwargs: Any) -> nn.Module:
    """Build a linear predictor and attach :class:`LogitRectification` to its output.

    The predictor keeps its type and its keys (``weight``, ``bias``); new are only the buffers under
    ``logit_rectification``. As mmpretrain's ``head.predictor`` or mmdet's ``bbox_head.cls_predictor_cfg``::

        predictor=dict(type='RectifiedPredictor', base='Linear')
        cls_predictor_cfg=dict(
            type='RectifiedPredictor', base='NormedLinear', rectification=dict(unrectified=2))

    Args:
        base (str): Registered name of the predictor. Defaults to ``'Linear'``.
        rectification (dict, optional): Options of :class:`LogitRectification` without ``num_features``.
        **kwargs: Arguments of the base, ``in_features`` and ``out_features`` among them, which heads fill in.

    Returns:
        nn.Module: The base predictor, with the child ``logit_rectification``.

    Raises:
        TypeError: If ``rectification`` is no dict, holds an unknown option, or ``out_features`` is missing.
        ValueError: If the base says why it does not go with logit rectification (``refuses_rectification``).
    """
    options = {} if rectification is None else rectification
    allowed = ('eps', 'momentum', 'sync', 'unrectified')
    if not isinstance(options, dict) or set(options) - set(allowed):
        raise TypeError(f'RectifiedPredictor: rectification={rectification!r} must be a dict with keys among '
                        f'{allowed}.')
    if 'out_features' not in kwargs:
        raise TypeError(f'RectifiedPredictor needs out_features, the number of logits; got {sorted(kwargs)}.')
    predictor = build_linear_predictor(dict(type=base, **kwargs))
    refusal = getattr(predictor, 'refuses_rectification', None)
    if refusal is not None:
        raise ValueError(f'RectifiedPredictor: base={base!r} does not go with logit rectification: {refusal}.')
    predictor.add_module('logit_rectification', LogitRectification(kwargs['out_features'], **options))
    predictor.register_forward_hook(_rectify)
    return predictor
