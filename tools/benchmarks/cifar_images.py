"""Images for the benchmarks of CIFAR's data path: real ones, or generated ones of the same kind."""
import argparse

import numpy as np


def natural_images(number: int, size: int, seed: int = 0) -> np.ndarray:
    """Random fields whose spectrum falls with frequency as that of photographs, with related channels.

    Returns:
        np.ndarray: uint8, shape ``(number, size, size, 3)``.
    """
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)) + 1 / size
    spectrum = np.fft.rfft2(random.normal(size=(number, 4, size, size))) / frequency**1.6
    fields = np.fft.irfft2(spectrum, (size, size))
    fields = fields[:, :1] + 0.4 * fields[:, 1:]
    fields -= fields.mean((2, 3), keepdims=True)
    fields /= fields.std((1, 2, 3), keepdims=True)
    centre, contrast = random.uniform(80, 170, (number, 1, 1, 1)), random.uniform(20, 70, (number, 1, 1, 1))
    return np.clip(centre + contrast * fields, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def load_images(parser: argparse.ArgumentParser, data_root: str | None, number: int, size: int) -> np.ndarray:
    """CIFAR-10-LT's training images from ``data_root`` (a re-packed copy will do), or generated ones.

    Returns:
        np.ndarray: uint8, shape ``(number, size, size, 3)``; of CIFAR-10-LT at most 12,406.
    """
    if data_root is None:
        return natural_images(number, size)
    from mmpretrain.registry import DATASETS

    import nbn_mm  # noqa: F401, the import registers
    if size != 32:
        parser.exit(1, f'error: --size={size}: the images under --data-root are 32 pixels wide.\n')
    try:
        dataset = DATASETS.build(
            dict(type='CIFAR10LT', data_root=data_root, split='train', pipeline=[], verify_md5=False))
        return np.stack([dataset.get_data_info(i)['img'] for i in range(min(number, len(dataset)))])
    except (OSError, ValueError, RuntimeError) as error:
        parser.exit(1, f'error: --data-root={data_root}: {error}\n')
