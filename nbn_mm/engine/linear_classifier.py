"""The linear map that a classifier is at test, if it is one."""
import copy

import torch
from torch import Tensor, nn

TOLERANCE = 1e-9  # relative, in float64


@torch.no_grad()
def effective_linear(predictor: nn.Module, in_features: int) -> tuple[Tensor, Tensor] | None:
    """Weight and bias of the linear layer that equals a predictor at test, whatever stands behind it.

    Found by asking a float64 copy for its answers, so that logit rectification or a learned scale behind a linear layer
    is part of the map.

    Args:
        predictor (nn.Module): Takes ``(N, D)`` and gives ``(N, C)``.
        in_features (int): D.

    Returns:
        tuple[Tensor, Tensor] | None: Weight ``(C, D)`` and bias ``(C, )`` in float64; None if the predictor is not
        linear in its input (a normalised classifier).
    """
    predictor = copy.deepcopy(predictor).cpu().double().eval()
    bias = predictor(torch.zeros(1, in_features, dtype=torch.float64))[0]
    if not bias.isfinite().all():
        return None
    rows = torch.eye(in_features, dtype=torch.float64).split(1024)
    weight = torch.cat([predictor(part) - bias for part in rows]).T.contiguous()
    probe = torch.randn(8, in_features, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    expected = probe @ weight.T + bias
    error = (predictor(probe) - expected).abs().max()
    return (weight, bias) if error <= TOLERANCE * expected.abs().max().clamp(min=1) else None


def box_heads(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The box heads of a two-stage detector and their names in the model's config, as ``'roi_head.bbox_head'``."""
    head = getattr(getattr(model, 'roi_head', None), 'bbox_head', None)
    if isinstance(head, nn.ModuleList):
        return [(f'roi_head.bbox_head.{index}', part) for index, part in enumerate(head)]
    return [] if head is None else [('roi_head.bbox_head', head)]
