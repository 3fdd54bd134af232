"""A preprocessor of several views of each image."""
from typing import Any

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from .batch_cls_data_preprocessor import BatchClsDataPreprocessor


@MODELS.register_module()
class MultiViewClsDataPreprocessor(BatchClsDataPreprocessor):
    """Puts the views of ``MultiView`` one after another along the batch: ``(V * N, 3, H, W)`` for N images.

    View v of image n is row ``v * N + n``; the labels stay those of the N images. One view, as at test, goes the usual
    way. Colour order, normalisation and padding are the host's.

    Args:
        **kwargs: Those of ``ClsDataPreprocessor``, without ``batch_augments``.

    Raises:
        ValueError: If views differ in their size, or a batch augmentation is asked for.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.batch_augments is not None:
            raise ValueError('MultiViewClsDataPreprocessor: train_cfg.augments (mixup, CutMix) mixes images and '
                             'labels, which several views of an image do not have apart. Remove model.train_cfg.')

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise.

        Args:
            data (dict): ``inputs``, uint8 ``(N, 3, H, W)``, or one such tensor, or list of images, for each view; and
                ``data_samples``.
            training (bool): Without effect.

        Returns:
            dict: ``inputs``, float, and ``data_samples``.
        """
        inputs = data['inputs']
        if _holds_views(inputs):
            views = [_stacked(view) for view in self.cast_data(inputs)]
            sizes = {tuple(view.shape[-2:]) for view in views}
            if len(sizes) > 1:
                raise ValueError(f'MultiView: views of the sizes {sorted(sizes)} (height, width) in one batch. All '
                                 'views of train_dataloader.dataset.pipeline must end in the same size.')
            data = dict(data, inputs=torch.cat(views))
        return super().forward(data, training)


def _holds_views(inputs: Any) -> bool:
    """Whether a collated batch is a list of views: of batches, or of lists of images."""
    return isinstance(inputs, (list, tuple)) and len(inputs) > 0 and (
        isinstance(inputs[0], (list, tuple)) or inputs[0].dim() == 4)


def _stacked(view: Tensor | list[Tensor]) -> Tensor:
    if isinstance(view, Tensor):
        return view
    sizes = {tuple(image.shape[-2:]) for image in view}
    if len(sizes) > 1:
        raise ValueError(f'MultiView: images of the sizes {sorted(sizes)} (height, width) in one view. Its transforms '
                         'in train_dataloader.dataset.pipeline must end in one size.')
    return torch.stack(list(view))
