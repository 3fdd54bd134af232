"""Balanced Softmax for box heads, with a background class.

Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition, NeurIPS 2020, arXiv:2007.10740. Their code for
LVIS is a sigmoid form that has no background output and leaves the logits of background proposals alone. This is the
softmax form of their paper, in which background needs a count.
"""
from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import Tensor, nn

from ...datasets.class_counts import ClassCounts, parse_class_counts
from .balanced_softmax_loss import balanced_softmax_loss, log_class_prior
from .class_count_loss import HOOK_LINE, given_counts

COUNTS = ('images', 'instances')
BACKGROUND_RULES = ('mean', 'sum')


def count_with_background(counts: Sequence[int], background_count: float | str = 'mean') -> tuple[float, ...]:
    """Counts of the classes and of background, which comes last.

    With ``'mean'``, the balance of background against all classes together stays that of the proposals, because
    training then shifts class j by ``log(n_j / mean(n))`` and background by 0: only the classes are balanced, among
    themselves. With ``'sum'``, background is one more class, and at test it is as likely as each of them.

    Args:
        counts (Sequence[int]): Length C.
        background_count (float | str): A number > 0, or ``'mean'`` or ``'sum'`` of the counts that are not 0.

    Returns:
        tuple[float]: Length C + 1.

    Raises:
        ValueError: If all counts are 0, or the background's is not a number > 0 or a known rule.
    """
    present = [count for count in counts if count > 0]
    if not present:
        raise ValueError(f'BoxBalancedSoftmaxLoss: all {len(counts)} class counts are 0. Check '
                         'train_dataloader.dataset or `loss_cls.class_counts`.')
    if background_count == 'mean':
        background = sum(present) / len(present)
    elif background_count == 'sum':
        background = sum(present)
    elif isinstance(background_count, (int, float)) and background_count > 0:
        background = background_count
    else:
        raise ValueError(f'BoxBalancedSoftmaxLoss: background_count={background_count!r} must be a number greater than '
                         f'0 or one of {BACKGROUND_RULES}; change `loss_cls.background_count`.')
    return (*counts, background)


@MODELS.register_module()
class BoxBalancedSoftmaxLoss(nn.Module):
    """Balanced Softmax as ``loss_cls`` of mmdet's box heads: C + 1 outputs, the last one background.

    Inference is the host's softmax over the C + 1 logits. Classes without training data are left out of the loss's
    denominator; at test their logits, which nothing trained, stay in the softmax.

    Args:
        count (str): ``'images'`` (training images with the class) or ``'instances'`` (boxes). Defaults to
            ``'images'``: as the authors' code for LVIS does, and as LVIS groups its classes; a head takes a limited
            number of proposals from an image, so a crowd of one class does not count in full.
        background_count (float | str): The background's count: ``'mean'`` or ``'sum'`` over the classes that have
            data, or a number; see :func:`count_with_background`. Defaults to ``'mean'``.
        class_counts (list[int] | str, optional): Counts per class, without background, or a JSON file with them; used
            instead of those of ``ClassCountsHook``. They are what ``count`` says.
        loss_weight (float): Factor. Defaults to 1.0.

    Raises:
        ValueError: If an option is unknown.
    """
    # Needs no counts at test, where there is no loss.
    class_counts_at_test = False

    def __init__(self,
                 count: str = 'images',
                 background_count: float | str = 'mean',
                 class_counts: Sequence[int] | str | None = None,
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        if count not in COUNTS:
            raise ValueError(f'BoxBalancedSoftmaxLoss: count={count!r} must be one of {COUNTS}; change '
                             '`loss_cls.count`.')
        count_with_background([1], background_count)  # checks the rule before there are counts
        self.count = count
        self.background_count = background_count
        self.loss_weight = loss_weight
        self.class_counts: ClassCounts | None = None
        # No buffer: mmengine's averaged models pair buffers by order.
        self._log_prior: Tensor | None = None
        self._given = class_counts
        self._overridden = class_counts is not None
        if self._overridden:
            self._set_given(parse_class_counts(class_counts, field='`class_counts` of BoxBalancedSoftmaxLoss'))

    def set_class_counts(self, record: ClassCounts) -> None:
        """Take the counts of the training set, unless the option ``class_counts`` was given.

        Args:
            record (ClassCounts): The record of the training set.

        Raises:
            ValueError: If the option has another number or other names of classes, no class has data, or instances are
                asked for and were not counted.
        """
        if not self._overridden:
            counts = getattr(record, self.count)
            if counts is None:
                raise ValueError("BoxBalancedSoftmaxLoss: count='instances', but the class counts hold no instances. "
                                 "Set `loss_cls.count='images'`, or give `loss_cls.class_counts`.")
            self._set(record, counts)
        else:
            self._set_given(given_counts('BoxBalancedSoftmaxLoss', self._given, record))

    def _set_given(self, record: ClassCounts) -> None:
        self._set(record, record.images if record.instances is None else getattr(record, self.count))

    def _set(self, record: ClassCounts, counts: Sequence[int]) -> None:
        self._log_prior = log_class_prior(count_with_background(counts, self.background_count))
        self.class_counts = record

    def forward(self,
                cls_score: Tensor,
                label: Tensor,
                weight: Tensor | None = None,
                avg_factor: float | None = None,
                reduction_override: str | None = None) -> Tensor:
        """The loss; arguments as in mmdet's losses.

        Args:
            cls_score (Tensor): Logits, shape ``(N, C + 1)``.
            label (Tensor): Shape ``(N, )``; C is background.
            weight (Tensor, optional): Weight of each proposal, shape ``(N, )``.
            avg_factor (float, optional): Divisor instead of N.
            reduction_override (str, optional): Instead of ``'mean'``.

        Returns:
            Tensor: A scalar, or ``(N, )`` without reduction; float32, or float64 for float64 logits.

        Raises:
            RuntimeError: If there are no class counts.
            ValueError: If the number of outputs is not C + 1, or see :func:`balanced_softmax_loss`.
        """
        if self._log_prior is None:
            raise RuntimeError('BoxBalancedSoftmaxLoss has no class counts. Add the hook that takes them from the '
                               f'training set to the config, `{HOOK_LINE}`, or give `class_counts` to the loss.')
        if cls_score.size(-1) != len(self._log_prior):
            raise ValueError(f'BoxBalancedSoftmaxLoss has the counts of {len(self._log_prior) - 1} classes and '
                             f'background, but the box head gives {cls_score.size(-1)} logits. Change '
                             '`bbox_head.num_classes` or `loss_cls.class_counts`.')
        self._log_prior = self._log_prior.to(cls_score.device)
        # Elsewhere looking at the labels would wait for the device; ClassCountsHook checks those of the data set.
        return self.loss_weight * balanced_softmax_loss(
            cls_score, label, (), weight, reduction_override or 'mean', avg_factor, log_prior=self._log_prior,
            check_target=cls_score.device.type == 'cpu', class_names=self.class_counts.classes)

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return f'count={self.count!r}, background_count={self.background_count!r}, loss_weight={self.loss_weight}'
