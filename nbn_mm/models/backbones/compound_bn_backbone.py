"""The entry point that turns a host's backbone into one with CompoundBN."""
from typing import Any

from mmengine.registry import MODELS
from torch import nn

from ..placement.apply_compound import COMPOUND_PLACEMENT_OPTIONS, apply_compound_bn
from .build_base import build_base


@MODELS.register_module()
def CompoundBNBackbone(base: str | type, compound: dict[str, Any] | None = None, **kwargs: Any) -> nn.Module:
    """Build a backbone of the host in the current scope and replace the chosen batch norms by CompoundBN.

    .. code-block:: python

        model = dict(
            type='ImageClassifier',
            backbone=dict(type='CompoundBNBackbone', base='ResNet', compound=dict(num_components=3)),
            head=dict(type='DualPathClsHead', split_weight=1.0))
        custom_hooks = [dict(type='CompoundBNHook')]

    Cheng et al., Compound Batch Normalization for Long-tailed Image Classification, ACM MM 2022, arXiv:2212.01007. In
    training the backbone runs the compound and the split path and returns the rows of both, which ``DualPathClsHead``
    takes apart; at test it has the compound path alone. ``compound=dict(split=False)`` needs neither head nor labels.

    Args:
        base (str | type): The backbone's type, as ``type`` was before; ``'mmpretrain.ResNet'`` names the host.
        compound (dict, optional): Options, see ``apply_compound_bn`` and ``CompoundOptions``; None: the defaults.
        **kwargs: Forwarded to ``base``.

    Returns:
        nn.Module: The backbone.

    Raises:
        KeyError: If no registry knows ``base``.
        ValueError: If several hosts know ``base`` and none is named, or an option of ``compound`` is wrong.
        TypeError: If ``compound`` is no dict or ``base`` builds no module.
    """
    backbone = build_base(base, 'compound', compound, COMPOUND_PLACEMENT_OPTIONS, **kwargs)
    return apply_compound_bn(backbone, **(compound or {}))
