"""Pictures that are read but not yet decoded, so that a JPEG can be decoded at the scale that its crop or resize needs.

libjpeg-turbo computes a picture of 1/2, 1/4 or 1/8 of the size from the low frequencies of each 8 × 8 block, which
skips most of the inverse transform and of the colour conversion, but not the entropy decoding. It is another picture
than the full one resized: it averages where the hosts' bilinear resize takes every n-th pixel; docs/image_loading.md
has figures. OpenCV offers these three scales; a decoder of one region only is in none of the packages that this one
stands on.
"""
import io
from typing import Any, NoReturn

import cv2
import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

FLAGS = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2,
         1: cv2.IMREAD_COLOR}
ORIENTATION = 274  # of EXIF; 5 to 8 exchange height and width


class JPEGImage:
    """The bytes of a picture file, with the shape that the hosts' loader would give it.

    Stands at ``results['img']`` until the next transform, which must be one of those that decode it. Any other use is
    an error that says so.

    Args:
        content (bytes): The file.
        path (str): Its name, for messages.

    Raises:
        ValueError: If it is no picture.
    """

    def __init__(self, content: bytes, path: str) -> None:
        self.content, self.path = content, path
        try:
            with Image.open(io.BytesIO(content)) as header:
                width, height = header.size
                self.reducible = header.format == 'JPEG'
                # the other formats may have their EXIF data behind the pixels
                turned = self.reducible and header.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise ValueError(f'{path!r} is no picture that can be read ({error}). Remove it from the data set, or '
                             'replace it.') from None
        self.shape = (width, height, 3) if turned else (height, width, 3)
        if not self.reducible:
            self.shape = self._pixels(1).shape

    def reduction(self, least: tuple[int, int], crop: tuple[int, int, int, int] | None = None) -> int:
        """The largest n of 1, 2, 4, 8 with which the region, decoded at 1/n, is not smaller than ``least``.

        Args:
            least (tuple[int, int]): Height and width that are needed.
            crop (tuple[int, int, int, int], optional): Top, left, height, width of the region; None: all of it.

        Returns:
            int: 1 for a file that is no JPEG.
        """
        if not self.reducible:
            return 1
        for n in (8, 4, 2):
            _, _, height, width = self._region(n, crop)
            if height >= least[0] and width >= least[1]:
                return n
        return 1

    def decode(self, least: tuple[int, int], crop: tuple[int, int, int, int] | None = None) -> np.ndarray:
        """Decode at the largest reduction that leaves at least ``least``, and cut the region out.

        A region's border is rounded to the reduced picture's grid: it moves by at most n/2 pixels of the original.

        Args:
            least (tuple[int, int]): Height and width that are needed.
            crop (tuple[int, int, int, int], optional): Top, left, height, width in the full picture.

        Returns:
            np.ndarray: BGR, uint8, shape ``(h, w, 3)``. Without reduction the pixels of the hosts' loader.

        Raises:
            ValueError: If the file cannot be decoded, or not to the size that its header tells.
        """
        n = self.reduction(least, crop)
        image = self._pixels(n)
        expected = tuple(-(-side // n) for side in self.shape[:2])
        if image.shape[:2] != expected:
            raise ValueError(f'{self.path!r} decodes to {image.shape[:2]}, not to {expected} as its header says. '
                             'Remove it from the data set, or replace it.')
        if crop is None:
            return image
        top, left, height, width = self._region(n, crop)
        return image[top:top + height, left:left + width]

    def _pixels(self, n: int) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(self.content, np.uint8), FLAGS[n])
        if image is None:
            raise ValueError(f'{self.path!r} cannot be decoded. Remove it from the data set, or replace it.')
        return image

    def _region(self, n: int, crop: tuple[int, int, int, int] | None) -> tuple[int, int, int, int]:
        if crop is None:
            return 0, 0, -(-self.shape[0] // n), -(-self.shape[1] // n)
        top, left = round(crop[0] / n), round(crop[1] / n)
        return top, left, round((crop[0] + crop[2]) / n) - top, round((crop[1] + crop[3]) / n) - left

    def _undecoded(self) -> str:
        return (f'{self.path!r} is not decoded yet: in the pipeline the transform that follows LoadReducedJPEG '
                '(besides LoadAnnotations) must be one that decodes, ReducedRandomResizedCrop, ReducedResizeEdge or '
                'ReducedResize.')

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(self._undecoded())

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith('__'):  # what copying and pickling look for
            raise AttributeError(name)
        raise AttributeError(f'{name}: {self._undecoded()}')


def undecoded(results: dict, user: str) -> JPEGImage:
    """The undecoded picture of a pipeline.

    Raises:
        TypeError: If ``results['img']`` is decoded already.
    """
    image = results['img']
    if not isinstance(image, JPEGImage):
        raise TypeError(f'{user} decodes the picture itself, got {type(image).__name__}: in the pipeline replace '
                        f"LoadImageFromFile by LoadReducedJPEG, or {user} by {user.removeprefix('Reduced')}.")
    return image


@TRANSFORMS.register_module()
class LoadReducedJPEG(BaseTransform):
    """Read a picture and leave its decoding, at a reduced scale if that suffices, to the crop or resize that follows.

    Goes with ``ReducedRandomResizedCrop`` and ``ReducedResizeEdge`` (mmpretrain) and ``ReducedResize`` (mmdet). The
    pictures are not those of the full decoding wherever a reduction is used, see docs/image_loading.md. Files of other
    kinds than JPEG are decoded in full. EXIF orientation, grey, CMYK and truncated files are treated as the hosts'
    loader with its default decoder (OpenCV) treats them.

    Required keys: ``img_path``. Added keys: ``img``, ``img_shape``, ``ori_shape`` (of the full picture).

    Args:
        ignore_empty (bool): Whether a file that is missing or no picture gives None, as in the hosts' loader. Defaults
            to False.
        backend_args (dict, optional): As in the hosts' loader.
    """

    def __init__(self, ignore_empty: bool = False, *, backend_args: dict | None = None) -> None:
        self.ignore_empty = ignore_empty
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict | None:
        """Read ``results['img_path']``.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is no picture.
        """
        path = results['img_path']
        try:
            image = JPEGImage(fileio.get(path, backend_args=self.backend_args), path)
        except (OSError, ValueError):
            if self.ignore_empty:
                return None
            raise
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(ignore_empty={self.ignore_empty}, backend_args={self.backend_args})'
