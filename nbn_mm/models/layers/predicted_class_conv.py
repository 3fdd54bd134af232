"""A 1x1 convolution of many outputs, of which each sample needs one."""
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def check_one_by_one(conv: nn.Module, field: str) -> None:
    """Refuse a predictor whose outputs can't be taken one at a time.

    Args:
        conv (nn.Module): The predictor.
        field (str): Config field that the error names.

    Raises:
        ValueError: If it is no ungrouped 1x1 ``nn.Conv2d`` (or a subclass that computes through ``_conv_forward``).
    """
    plain = isinstance(conv, nn.Conv2d) and conv.kernel_size == (1, 1) and conv.stride == (1, 1) and \
        conv.groups == 1 and conv.padding == (0, 0)
    if not plain:
        raise ValueError(f'{field}: the logits of one class can be computed alone for an ungrouped 1x1 Conv2d (Conv, '
                         f"NormedConv2d), but this is {type(conv).__name__}. Change it, or use the host's own "
                         'mask_head.type.')


@contextmanager
def one_output_each(conv: nn.Conv2d, labels: Tensor) -> Iterator[None]:
    """Within this context the convolution gives output ``labels[i]`` of sample i alone, ``(N, 1, h, w)``.

    Whatever a subclass does with its weight and input before it convolves (mmdet's ``NormedConv2d`` normalises both) is
    done as ever; only the convolution itself becomes a product of N pairs of matrices.

    Args:
        conv (nn.Conv2d): See :func:`check_one_by_one`.
        labels (Tensor): One output a sample, shape ``(N, )``.
    """

    def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if len(x) != len(labels):
            raise ValueError(f'{len(x)} samples, but {len(labels)} labels for them.')
        rows, columns = weight[labels].flatten(2).transpose(1, 2), x.flatten(2)
        found = torch.bmm(rows, columns) if bias is None else \
            torch.baddbmm(bias[labels].to(columns.dtype)[:, None, None], rows, columns)
        return found.view(len(x), 1, *x.shape[2:])

    conv._conv_forward = product
    try:
        yield
    finally:
        del conv._conv_forward
