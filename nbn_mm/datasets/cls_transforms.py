"""Transforms of mmpretrain's pipelines: reduced decoding, and colour jitter with the host's pixels in less time."""
import cv2
import mmcv
import numpy as np
from mmpretrain.datasets.transforms import ColorJitter, RandomResizedCrop, ResizeEdge
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageEnhance

from .transforms.auto_augment import check_image
from .transforms.reduced_jpeg import undecoded

RAMP = Image.fromarray(np.arange(256, dtype=np.uint8)[None])


@TRANSFORMS.register_module()
class ReducedRandomResizedCrop(RandomResizedCrop):
    """The host's ``RandomResizedCrop``, drawn before decoding; after ``LoadReducedJPEG``.

    The crop is drawn from the same random numbers as the host's, in pixels of the full picture. The JPEG is decoded at
    the largest reduction that leaves the crop at or above ``scale``. Without a reduction the picture is the host's.
    """

    def transform(self, results: dict) -> dict:
        """Crop, decode and resize ``results['img']``.

        Raises:
            TypeError: If the picture is decoded already.
            ValueError: If it cannot be decoded.
        """
        image = undecoded(results, type(self).__name__)
        crop = self.rand_crop_params(image)
        pixels = mmcv.imresize(image.decode(tuple(self.scale), crop), tuple(self.scale[::-1]),
                               interpolation=self.interpolation, backend=self.backend)
        results['img'] = pixels
        results['img_shape'] = pixels.shape
        return results


@TRANSFORMS.register_module()
class ReducedResizeEdge(ResizeEdge):
    """The host's ``ResizeEdge`` on a JPEG that is decoded at no more than it needs; after ``LoadReducedJPEG``."""

    def transform(self, results: dict) -> dict:
        """Decode and resize ``results['img']``.

        Raises:
            TypeError: If the picture is decoded already.
            ValueError: If it cannot be decoded.
        """
        undecoded(results, type(self).__name__)
        return super().transform(results)

    def _resize_img(self, results: dict) -> None:
        image, (width, height) = results['img'], results['scale']
        results['img'] = image.decode((height, width))
        super()._resize_img(results)
        results['scale_factor'] = (width / image.shape[1], height / image.shape[0])


def blend_table(level: int, factor: float) -> np.ndarray:
    """What Pillow's blend of a constant grey with a picture makes of each of the 256 values, by Pillow itself.

    Args:
        level (int): The grey.
        factor (float): Weight of the picture; the grey's is 1 − ``factor``.

    Returns:
        np.ndarray: uint8, shape ``(1, 256)``.
    """
    return np.asarray(Image.blend(Image.new('L', RAMP.size, level), RAMP, factor))


@TRANSFORMS.register_module()
class TableColorJitter(ColorJitter):
    """The host's ``ColorJitter``, same draws and same pixels, in about a third of its time.

    The host makes a Pillow image of each of the three steps and back, with a copy in the other channel order.
    Brightness and contrast blend the picture with one grey, so that they are a table of 256 values, which Pillow's own
    blend of a ramp gives; only saturation needs Pillow's blend of the picture. Channels change order once.

    Args:
        **kwargs: As in the host's class, without ``hue``, and with its default ``backend='pillow'``.

    Raises:
        ValueError: If ``hue`` or another backend is asked for: use the host's ``ColorJitter`` then.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.hue is not None or self.backend != 'pillow':
            raise ValueError(f'TableColorJitter: hue={self.hue} and backend={self.backend!r} are not offered (no hue, '
                             "backend='pillow'). Use type='ColorJitter' for them.")

    def transform(self, results: dict) -> dict:
        """Change the colours of ``results['img']``, BGR, uint8, shape ``(H, W, 3)``.

        Raises:
            TypeError: If the image is of another kind.
        """
        check_image(results['img'], type(self).__name__)
        order, brightness, contrast, saturation, _ = self._rand_params()
        image = cv2.cvtColor(results['img'], cv2.COLOR_BGR2RGB)
        for step in order:
            if step == 0 and brightness is not None:
                image = cv2.LUT(image, blend_table(0, brightness))
            elif step == 1 and contrast is not None:
                grey = np.asarray(Image.fromarray(image).convert('L'))
                mean = int(int(grey.sum(dtype=np.int64)) / grey.size + 0.5)  # as ImageEnhance.Contrast rounds it
                image = cv2.LUT(image, blend_table(mean, contrast))
            elif step == 2 and saturation is not None:
                image = np.asarray(ImageEnhance.Color(Image.fromarray(image)).enhance(saturation))
        results['img'] = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        return results
