"""Post-hoc calibration of logits, without training: each method is one affine map of every class's logit.

- Logit adjustment: Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021, arXiv:2007.07314, section 4.1.
- LogN: Zhao et al., Logit Normalization for Long-Tail Object Detection, IJCV 2024, arXiv:2203.17020.
- tau-normalisation: Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020,
  arXiv:1910.09217, section 4.2.
- IIF: Alexandridis et al., Inverse Image Frequency for Long-Tailed Image Recognition, TIP 2023, arXiv:2209.04861.

Because they are affine, all of them fold into the weight and bias of a linear classifier.
"""
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

Values = Tensor | Sequence[float]


@dataclass(frozen=True)
class AffineMap:
    """``scale * logits + shift`` of each class.

    Args:
        scale (Tensor): Shape ``(C, )``, float64.
        shift (Tensor): Shape ``(C, )``, float64.

    Raises:
        ValueError: If shapes differ or a number is not finite.
    """
    scale: Tensor
    shift: Tensor

    def __post_init__(self) -> None:
        for name in ('scale', 'shift'):
            value = torch.as_tensor(getattr(self, name)).detach().cpu().double()
            object.__setattr__(self, name, value)
            if not value.isfinite().all():
                index = int((~value.isfinite()).nonzero()[0])
                raise ValueError(f'post-hoc calibration: the {name} of class {index} is {float(value[index])}.')
        if self.scale.dim() != 1 or self.scale.shape != self.shift.shape or not len(self.scale):
            raise ValueError(f'post-hoc calibration needs a scale and a shift for each class, got shapes '
                             f'{tuple(self.scale.shape)} and {tuple(self.shift.shape)}.')

    def __call__(self, logits: Tensor) -> Tensor:
        """Calibrated logits.

        Args:
            logits (Tensor): Shape ``(N, C)``.

        Returns:
            Tensor: Shape ``(N, C)``, float64.

        Raises:
            ValueError: If the number of classes is another.
        """
        logits = torch.as_tensor(logits)
        if logits.dim() != 2 or logits.size(1) != len(self.scale):
            raise ValueError(f'post-hoc calibration of {len(self.scale)} classes got logits of shape '
                             f'{tuple(logits.shape)}.')
        return logits.double() * self.scale.to(logits.device) + self.shift.to(logits.device)

    @property
    def keeps_order(self) -> bool:
        """bool: Whether no ranking of classes can change: one positive scale and one shift for all classes."""
        return bool(self.scale[0] > 0 and (self.scale == self.scale[0]).all() and (self.shift == self.shift[0]).all())

    def with_columns(self, number: int) -> 'AffineMap':
        """The map with further columns at the end that stay as they are (background, Seesaw's objectness).

        Args:
            number (int): Their number.
        """
        return AffineMap(torch.cat([self.scale, self.scale.new_ones(number)]),
                         torch.cat([self.shift, self.shift.new_zeros(number)]))


def check_tau(tau: float, method: str) -> float:
    """Raise unless tau is a finite number that is not negative."""
    if isinstance(tau, bool) or not isinstance(tau, Real) or not 0 <= tau < float('inf'):
        raise ValueError(f'{method}: tau={tau!r} must be a number >= 0.')
    return float(tau)


def logit_adjustment(class_counts: Values, tau: float = 1.0) -> AffineMap:
    r""":math:`z_j - \tau \log \pi_j` with the training set's shares :math:`\pi` (Menon et al., eq. 9).

    For logits that were trained with plain cross entropy. Keeps every ranking if ``tau=0`` or all counts are equal.

    Args:
        class_counts (Values): Training images per class, shape ``(C, )``.
        tau (float): Strength. Defaults to 1.

    Returns:
        AffineMap: Of C classes.

    Raises:
        ValueError: If tau is negative or a class has no training image.
    """
    tau = check_tau(tau, 'logit_adjustment')
    counts = _positive_counts(class_counts, 'logit_adjustment')
    return AffineMap(torch.ones_like(counts), -tau * (counts / counts.sum()).log())


def logit_normalization(mean: Values, std: Values) -> AffineMap:
    r"""LogN: :math:`(z_j - (\mu_j - \min_i \mu_i)) / \sigma_j`.

    The statistics are those of each class's logit over the *training* set (in a detector, over the sampled proposals of
    training, foreground and background; its background column keeps its logit, which is mean 0 and deviation 1 and no
    part of the minimum). Keeps every ranking if all means and all deviations are equal.

    Args:
        mean (Values): Shape ``(C, )``.
        std (Values): Shape ``(C, )``.

    Returns:
        AffineMap: Of C classes.

    Raises:
        ValueError: If a deviation is not positive.
    """
    mean, std = torch.as_tensor(mean).double(), torch.as_tensor(std).double()
    if not (std > 0).all():
        index = int((~(std > 0)).nonzero()[0])
        raise ValueError(f'LogN: the logit of class {index} has the deviation {float(std[index])} over the training '
                         'set; it must be positive. Take the statistics from the whole training set.')
    return AffineMap(1 / std, -(mean - mean.min()) / std)


def tau_normalization(weight: Values, bias: Values | None = None, tau: float = 1.0,
                      keep_bias: bool = False) -> AffineMap:
    r"""The map that turns :math:`w_j x + b_j` into :math:`w_j x / \lVert w_j \rVert^\tau` (Kang et al., eq. 7).

    The published form discards the bias. Keeps every ranking if all norms are equal, or ``tau=0``, and the bias is kept
    or equal.

    Args:
        weight (Values): Weight of the linear classifier, shape ``(C, D)``.
        bias (Values, optional): Its bias, shape ``(C, )``; None: no bias.
        tau (float): Strength, 0 … 1 in the paper. Defaults to 1.
        keep_bias (bool): Whether to add the bias again. Defaults to False.

    Returns:
        AffineMap: Of C classes.

    Raises:
        ValueError: If tau is negative or a weight is zero.
    """
    tau = check_tau(tau, 'tau_norm')
    weight = torch.as_tensor(weight).double()
    if weight.dim() != 2:
        raise ValueError(f'tau_norm needs the weight of a linear classifier, (C, D), got {tuple(weight.shape)}.')
    norm = weight.norm(dim=1)
    if not (norm > 0).all():
        raise ValueError(f'tau_norm: the weight of class {int((norm == 0).nonzero()[0])} is 0 and has no direction.')
    scale = norm**-tau
    bias = torch.zeros_like(norm) if bias is None else torch.as_tensor(bias).double()
    return AffineMap(scale, bias * (float(keep_bias) - scale))


def logit_weighting(weights: Values) -> AffineMap:
    r"""IIF: :math:`w_j z_j` with the weights of the classes. Keeps every ranking if all weights are equal.

    Args:
        weights (Values): Shape ``(C, )``, such as :math:`\log(N / n_j)`.

    Returns:
        AffineMap: Of C classes.

    Raises:
        ValueError: If a weight is negative.
    """
    weights = torch.as_tensor(weights).double()
    if not (weights >= 0).all():
        raise ValueError(f'IIF: the weight of class {int((~(weights >= 0)).nonzero()[0])} is negative.')
    return AffineMap(weights, torch.zeros_like(weights))


def _positive_counts(class_counts: Values, method: str) -> Tensor:
    counts = torch.as_tensor(class_counts).double()
    if not (counts > 0).all():
        index = int((~(counts > 0)).nonzero()[0])
        raise ValueError(f'{method}: class {index} has the count {float(counts[index]):g}; the class counts must be '
                         'positive.')
    return counts


class LogitMoments:
    """Mean and deviation of each class's logit over all rows that were seen, in float64 (Chan et al., 1979).

    Attributes:
        count (int): Rows.
        mean (Tensor): Shape ``(C, )``.
        std (Tensor): Shape ``(C, )``; divides by the number of rows.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor = torch.zeros(())
        self._squares: Tensor = torch.zeros(())

    def update(self, logits: Tensor) -> None:
        """Take in further rows.

        Args:
            logits (Tensor): Shape ``(N, C)``; N may be 0.
        """
        logits = torch.as_tensor(logits).detach().double()
        rows = len(logits)
        if not rows:
            return
        var, mean = torch.var_mean(logits, dim=0, correction=0)
        delta, total = mean - self.mean, self.count + rows
        self._squares = self._squares + var * rows + delta.square() * (self.count * rows / total)
        self.mean = self.mean + delta * (rows / total)
        self.count = total

    @property
    def std(self) -> Tensor:
        """Tensor: Deviations, shape ``(C, )``."""
        return (self._squares / max(self.count, 1)).sqrt()
