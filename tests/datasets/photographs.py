"""Picture files with the content of a photograph, in the kinds that data sets hold."""
import cv2
import numpy as np
from PIL import Image


def photograph(height, width, seed=0):
    """RGB with edges and smooth parts, as a photograph has; no two pixels of it are alike by design."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.circle(image, (width // 3, height // 2), min(height, width) // 4, (250, 40, 90), -1)
    return cv2.add(image, rng.integers(0, 20, image.shape, dtype=np.uint8))


def write(path, height=300, width=420, mode='RGB', orientation=None, format='JPEG', seed=0):
    image = Image.fromarray(photograph(height, width, seed)).convert(mode)
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    image.save(path, format, quality=90, exif=exif)
    return str(path)
