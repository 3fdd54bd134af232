"""What losses with margins in units of the cosine share: the check of the classifier that they stand on."""
from torch import Tensor, nn


def check_cosine_predictor(loss: str, predictor: nn.Module, scale: float) -> None:
    """Raise unless a predictor gives ``scale · cos``.

    Args:
        loss (str): Name of the loss.
        predictor (nn.Module): The classifier of a head.
        scale (float): The scale that the loss expects.

    Raises:
        ValueError: If there is logit rectification behind the predictor, it is no cosine classifier, or has another
            scale or a learnable one.
    """
    example = f"`head.predictor=dict(type='CosineLinear', scale={scale:g})`"
    if getattr(predictor, 'logit_rectification', None) is not None:
        raise ValueError(f'{loss} takes up to {scale:g} times a margin from the logits. Behind logit rectification a '
                         'logit is standardised: that of a class with a share p of the batch is at most '
                         f'sqrt((1 - p) / p) on average. Use {example}, or a `head.loss` without margins '
                         '(BalancedSoftmaxLoss).')
    found = getattr(predictor, 'scale', None)
    if isinstance(found, nn.Parameter):
        raise ValueError(f'{loss}: its margins are those of a cosine classifier with a fixed scale, but that of '
                         f'`head.predictor` is learnable. Use {example}.')
    if found is None:
        raise ValueError(f'{loss}: its margins are those of a cosine classifier, but `head.predictor` is '
                         f'{type(predictor).__name__}, which has no scale. Use {example}.')
    if float(found) != float(scale):
        raise ValueError(f'{loss}: scale={scale:g} (`head.loss.scale`), but `head.predictor.scale` is '
                         f'{float(found):g}. They must be equal.')


def lower_own_logit(logits: Tensor, labels: Tensor, by: Tensor) -> Tensor:
    """Subtract a number from the logit of each row's label.

    Args:
        logits (Tensor): Shape ``(K, C)``.
        labels (Tensor): Shape ``(K, )``.
        by (Tensor): Shape ``(K, )``.

    Returns:
        Tensor: Shape ``(K, C)``.
    """
    return logits.scatter_add(1, labels[:, None], -by.to(logits.dtype)[:, None])
