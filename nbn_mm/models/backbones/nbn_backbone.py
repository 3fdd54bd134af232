"""The entry point that turns a host's backbone into one with NBN."""
from typing import Any

from mmengine.registry import MODELS
from torch import nn

from ..placement.apply import PLACEMENT_OPTIONS, apply_nbn
from .build_base import build_base


@MODELS.register_module()
def NBNBackbone(base: str | type, nbn: dict[str, Any] | None = None, **kwargs: Any) -> nn.Module:
    """Build a backbone of the host in the current scope and replace the chosen batch norms by NBN.

    .. code-block:: python

        model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(placement='paper', share='all')))

    The result is the host's own object; its keys are unchanged, ``nbn.magnitude`` is added. Its ``init_cfg`` and all
    other keys are the host's. SyncBN is refused: ``nbn=dict(sync=True)`` synchronises the batch norms of the backbone,
    on CPU too.

    Args:
        base (str | type): The backbone's type, as ``type`` was before; ``'mmpretrain.ResNet'`` names the host.
        nbn (dict, optional): Options, see ``apply_nbn`` and ``NBNOptions``; None: the paper's placement and sharing.
        **kwargs: Forwarded to ``base``.

    Returns:
        nn.Module: The backbone.

    Raises:
        KeyError: If no registry knows ``base``.
        ValueError: If several hosts know ``base`` and none is named, or an option of ``nbn`` is wrong.
        TypeError: If ``nbn`` is no dict or ``base`` builds no module.
    """
    backbone = build_base(base, 'nbn', nbn, PLACEMENT_OPTIONS, **kwargs)
    return apply_nbn(backbone, **(nbn or {}))
