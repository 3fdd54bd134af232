"""Classifiers whose logits are multiplied by the inverse image frequency (IIF) of their class.

Alexandridis et al., Inverse Image Frequency for Long-Tailed Image Recognition, TIP 2023, arXiv:2209.04861: the softmax,
in training and at test, is that of ``w_j z_j`` with a weight ``w_j`` that grows as the images of class j become fewer.
The classifier is linear, or a cosine one, as in the authors' runs. The same weights on a trained network are the
post-hoc form.
"""
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...utils.class_priors import IIF_KINDS, inverse_image_frequency
from .cosine_linear import CosineLinear

HOOK_LINE = "default_hooks = dict(class_counts=dict(type='ClassCountsHook'))"


class InverseFrequencyMixin:
    """Multiplies the output of a classifier by the buffer ``frequency_weights`` (C), which checkpoints keep.

    The weights are 1 while ``active`` is False, and are computed from the class counts that ``ClassCountsHook`` hands
    over as soon as it is True; counts that come while it is False leave them as they are, so that a network whose
    checkpoint holds weights is tested with these.

    Args:
        in_features (int): Channels D of the features.
        out_features (int): Classes C.
        kind (str): ``'smooth'`` (the authors' runs) or ``'raw'``, see
            :func:`nbn_mm.utils.class_priors.inverse_image_frequency`. Defaults to ``'smooth'``.
        active (bool): Whether to multiply from the start. ``StageHook`` sets it at the switch to stage 2. Defaults to
            True.
        **kwargs: Those of the classifier.

    Raises:
        ValueError: If the kind is unknown, a class has no images, or the counts are of another number of classes.
    """
    refuses_rectification = ('standardising the logits of each class takes out its factor. Use IIF after training '
                             '(tools/analysis_tools/posthoc.py) on a network with logit rectification')

    def __init__(self, in_features: int, out_features: int, kind: str = 'smooth', active: bool = True,
                 **kwargs: Any) -> None:
        super().__init__(in_features, out_features, **kwargs)
        if kind not in IIF_KINDS:
            raise ValueError(f'{type(self).__name__}: kind={kind!r} must be one of {IIF_KINDS}; change '
                             '`head.predictor.kind`.')
        self.kind = kind
        self._active = bool(active)
        self._computed: Tensor | None = None  # of the counts that were handed over
        self._loaded = False
        self.register_buffer('frequency_weights', torch.ones(out_features))

    @property
    def active(self) -> bool:
        """bool: Whether the logits are multiplied by the weights of the class counts."""
        return self._active

    @active.setter
    def active(self, value: bool) -> None:
        if bool(value) != self._active:
            self._active = bool(value)
            self._write()

    @property
    def class_counts_at_test(self) -> bool:
        """bool: Whether a test needs class counts: not with the weights of a checkpoint."""
        return self._active and not self._loaded

    def set_class_counts(self, record: Any) -> None:
        """Take the counts of the training set.

        Args:
            record (ClassCounts): The record of the training set, of C classes.
        """
        if record.num_classes != len(self.frequency_weights):
            raise ValueError(f'{type(self).__name__} of {len(self.frequency_weights)} classes got class counts of '
                             f'{record.num_classes}. Change `head.num_classes` or `class_counts`.')
        self._computed = torch.from_numpy(inverse_image_frequency(record.images, self.kind))
        if self._active:
            self._write()

    @torch.no_grad()
    def _write(self) -> None:
        if not self._active:
            self.frequency_weights.fill_(1)
        elif self._computed is not None:
            self.frequency_weights.copy_(self._computed)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, strict: bool,
                              missing_keys: list[str], *args: Any) -> None:
        key = f'{prefix}frequency_weights'
        # weights that are all 1 were saved while it was not active, and are none of any class counts
        self._loaded = key in state_dict and bool((state_dict[key] != 1).any())
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *args)
        if key in missing_keys:  # a checkpoint of the plain classifier is whole: the class counts give the weights
            missing_keys.remove(key)

    def forward(self, x: Tensor) -> Tensor:
        """Weighted logits.

        Args:
            x (Tensor): Features, shape ``(N, D)``.

        Returns:
            Tensor: Shape ``(N, C)``.

        Raises:
            RuntimeError: If it is active and has no class counts.
        """
        self._check()
        logits = super().forward(x)
        return logits * self.frequency_weights.to(logits.dtype)

    def _check(self) -> None:
        if self._active and self._computed is None and not self._loaded:
            raise RuntimeError(f'{type(self).__name__} has no class counts. Add the hook that takes them from the '
                               f'training set to the config: `{HOOK_LINE}`.')

    def extra_repr(self) -> str:
        """Options for ``print``."""
        return f'{super().extra_repr()}, kind={self.kind!r}, active={self._active}'


@MODELS.register_module()
class InverseFrequencyLinear(InverseFrequencyMixin, nn.Linear):
    """A linear classifier with IIF, see :class:`InverseFrequencyMixin`; ``bias`` as in ``nn.Linear``."""

    @torch.no_grad()
    def as_linear(self) -> nn.Linear:
        """The linear layer that equals it, with the weights of the classes in its weight and bias; in evaluation mode.

        Raises:
            RuntimeError: If it is active and has no class counts.
        """
        self._check()
        plain = nn.Linear(self.in_features, self.out_features, self.bias is not None).to(self.weight)
        plain.weight.copy_(self.frequency_weights[:, None] * self.weight)
        if self.bias is not None:
            plain.bias.copy_(self.frequency_weights * self.bias)
        return plain.eval()


@MODELS.register_module()
class InverseFrequencyCosineLinear(InverseFrequencyMixin, CosineLinear):
    """A cosine classifier with IIF, see :class:`InverseFrequencyMixin`; ``scale`` as in ``CosineLinear``."""
