"""Transforms of mmdet's pipelines: reduced decoding."""
import mmcv
from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS

from .transforms.reduced_jpeg import undecoded


@TRANSFORMS.register_module()
class ReducedResize(Resize):
    """The host's ``Resize``; the JPEG is decoded at a reduced scale that is not below it; after ``LoadReducedJPEG``.

    Boxes, masks and ``scale_factor`` are those of the full picture. With several scales:
    ``dict(type='RandomChoiceResize', resize_type='ReducedResize', scales=[…], keep_ratio=True)``. It only pays where
    pictures have at least twice the size of ``scale``; those of COCO and LVIS (640 pixels) are enlarged.
    """

    def _resize_img(self, results: dict) -> None:
        image = undecoded(results, type(self).__name__)
        height, width = image.shape[:2]
        size = mmcv.rescale_size((width, height), results['scale']) if self.keep_ratio else results['scale']
        results['img'] = mmcv.imresize(image.decode(tuple(size[::-1])), size, interpolation=self.interpolation,
                                       backend=self.backend)
        results['img_shape'] = results['img'].shape[:2]
        results['scale_factor'] = (size[0] / width, size[1] / height)
        results['keep_ratio'] = self.keep_ratio
