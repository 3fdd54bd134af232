"""Images from disk: this package's loading beside the hosts' pipelines, and how far the pixels of each way differ.

Every setting runs the whole per-image pipeline of a data loader's worker, from the file to the packed sample, on one
core. `equal` is computed from the samples of this run, with the same random numbers on both sides: True where the
pictures are the same, False where they are not (reduced decoding, resized copies, decoding on the GPU), and then the
difference of the pixels is printed. Without --images the pictures are cut from the two photographs that come with
scikit-learn, at the sizes that ImageNet (500 x 375) and iNaturalist 2018 (800 x 600) mostly have, and at 2560 x 1920.

    python tools/benchmarks/image_loading.py --json image_loading.json
    python tools/benchmarks/image_loading.py --images FOLDER      # JPEG files of your own, as they are
    python tools/benchmarks/image_loading.py --quick              # a minute or two
    python tools/benchmarks/image_loading.py --device cuda        # adds torchvision's decoder on the GPU
"""
import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]  # the package of this checkout, installed or not, and the harness

import cv2  # noqa: E402
import harness  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmcv.transforms import Compose  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402

import nbn_mm  # noqa: E402, F401, registers
from nbn_mm.datasets.resize_images import resize_images  # noqa: E402

PLACE = 'images from disk'
SIZES = {'500x375': (375, 500), '800x600': (600, 800), '2560x1920': (1920, 2560)}
QUALITY = 90
LOAD, REDUCED = dict(type='LoadImageFromFile'), dict(type='LoadReducedJPEG')
FLIP = dict(type='RandomFlip', prob=0.5, direction='horizontal')
JITTER = dict(brightness=0.4, contrast=0.4, saturation=0.4)
CROP, EDGE = dict(scale=224), dict(scale=256, edge='short')
SCALES = dict(scales=[(1333, side) for side in (640, 672, 704, 736, 768, 800)], keep_ratio=True)
CENTER = [dict(type='CenterCrop', crop_size=224), dict(type='PackInputs')]
HOST = {
    'train, jitter': [LOAD, dict(type='RandomResizedCrop', **CROP), FLIP, dict(type='ColorJitter', **JITTER),
                      dict(type='PackInputs')],
    'train': [LOAD, dict(type='RandomResizedCrop', **CROP), FLIP, dict(type='PackInputs')],
    'test': [LOAD, dict(type='ResizeEdge', **EDGE), *CENTER],
    'detection': [LOAD, dict(type='RandomChoiceResize', **SCALES), dict(type='RandomFlip', prob=0.5),
                  dict(type='PackDetInputs')],
}
OURS = {
    'train, table jitter': [*HOST['train, jitter'][:3], dict(type='TableColorJitter', **JITTER),
                            dict(type='PackInputs')],
    'train, reduced': [REDUCED, dict(type='ReducedRandomResizedCrop', **CROP), FLIP, dict(type='PackInputs')],
    'test, reduced': [REDUCED, dict(type='ReducedResizeEdge', **EDGE), *CENTER],
    'detection, reduced': [REDUCED, dict(type='RandomChoiceResize', resize_type='ReducedResize', **SCALES),
                           dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')],
}


def write_photographs(folder: Path, size: tuple[int, int], number: int) -> None:
    """Cuts of two photographs, at the size; a larger size is scaled up and is smoother than a photograph of it."""
    from sklearn.datasets import load_sample_images
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(number):
        image = load_sample_images().images[i % 2][..., ::-1]  # BGR, 427 x 640
        share = rng.uniform(0.75, 1) if size[1] > 640 else 1
        height = int(min(share * image.shape[0], size[0] if size[1] <= 640 else image.shape[0]))
        width = min(round(height * size[1] / size[0]), image.shape[1])
        top, left = rng.integers(0, image.shape[0] - height + 1), rng.integers(0, image.shape[1] - width + 1)
        cut = cv2.resize(image[top:top + height, left:left + width], size[::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f'{i:03d}.jpg'), cut[:, ::rng.choice((1, -1))], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def build(steps: list[dict], scope: str) -> Compose:
    """A pipeline of a host."""
    with DefaultScope.overwrite_default_scope(scope):
        return Compose([dict(step) for step in steps])


def load(pipeline: Compose, paths: list[Path], scope: str) -> list[dict]:
    """The packed samples of all files, with the same random numbers at each call."""
    np.random.seed(0)
    with warnings.catch_warnings(), DefaultScope.overwrite_default_scope(scope):
        warnings.simplefilter('ignore')
        return [pipeline(dict(img_path=str(path), img_id=0, instances=[], gt_label=0)) for path in paths]


def difference(first: list[torch.Tensor], second: list[torch.Tensor]) -> str:
    """Share of the pixels that differ in any channel, mean and largest difference, PSNR of the two sets."""
    if any(a.shape != b.shape for a, b in zip(first, second, strict=True)):
        return 'the pictures are of other sizes'
    gaps = [(a.cpu().int() - b.cpu().int()).abs() for a, b in zip(first, second, strict=True)]
    changed = float(torch.cat([gap.amax(0).flatten() > 0 for gap in gaps]).double().mean())
    values = torch.cat([gap.flatten() for gap in gaps]).double()
    psnr = 10 * float(torch.log10(255 ** 2 / values.square().mean())) if values.any() else float('inf')
    return (f'{changed:.1%} of the pixels differ, mean difference {float(values.mean()):.2f} of 255, largest '
            f'{int(values.max())}, PSNR {psnr:.1f} dB')


def measure(setting: str, ours: Callable, host: Callable, args: argparse.Namespace, images: int,
            compare_pixels: bool = True) -> harness.Record:
    """One record of two functions that give lists of image tensors."""
    first, second = ours(), host()
    equal = all(a.shape == b.shape and torch.equal(a.cpu(), b.cpu()) for a, b in zip(first, second, strict=True))
    print(f'{setting}: ' + (difference(first, second) if compare_pixels else 'other crops, no pixels side by side'))
    timings = harness.interleave(dict(ours=ours, host=host), args.runs, args.device)
    return harness.compare(PLACE, setting, timings['ours'], timings['host'], equal=equal, device=args.device,
                           threads=args.threads, items=images, unit='images/s')


def pictures(pipeline: Compose, paths: list[Path], scope: str) -> list[torch.Tensor]:
    return [sample['inputs'] for sample in load(pipeline, paths, scope)]


def measure_folder(name: str, folder: Path, args: argparse.Namespace, work: Path) -> list[harness.Record]:
    """All settings on one folder of JPEG files."""
    paths = sorted(path for path in folder.rglob('*') if path.suffix.lower() in ('.jpg', '.jpeg'))
    records = []
    for title in OURS:
        kind = title.replace('table ', '').removesuffix(', reduced')
        scope = 'mmdet' if kind == 'detection' else 'mmpretrain'
        sides = [partial(pictures, build(steps, scope), paths, scope) for steps in (OURS[title], HOST[kind])]
        records.append(measure(f'{name}, {title}', *sides, args, len(paths)))
    small = work / f'small_{folder.name}'
    report = resize_images(folder, small, 256, workers=0)
    print(f'{name}, copy with shorter side 256: {report.before:,} bytes before, {report.after:,} after')
    copies = [small / path.relative_to(folder) for path in paths]
    for kind in ('train', 'test'):
        pipeline = build(HOST[kind], 'mmpretrain')
        sides = [partial(pictures, pipeline, files, 'mmpretrain') for files in (copies, paths)]
        records.append(measure(f'{name}, {kind}, resized copy', *sides, args, len(paths), kind == 'test'))
    return records


def measure_cuda(name: str, folder: Path, args: argparse.Namespace) -> harness.Record:
    """Decoding alone: torchvision's decoder on the GPU, all files as one batch, beside OpenCV on one core."""
    from torchvision.io import ImageReadMode, decode_jpeg
    contents = [path.read_bytes() for path in sorted(folder.rglob('*')) if path.suffix.lower() in ('.jpg', '.jpeg')]
    tensors = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in contents]

    def host() -> list[torch.Tensor]:
        decoded = [cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB) for content in contents]
        return [torch.from_numpy(image).permute(2, 0, 1) for image in decoded]

    return measure(f'{name}, decoding on the GPU', lambda: decode_jpeg(tensors, ImageReadMode.RGB, device='cuda'), host,
                   args, len(contents))


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description='Images from disk beside the hosts\' pipelines, on one core.')
    harness.add_arguments(parser)
    parser.add_argument('--images', type=Path, metavar='FOLDER', help='JPEG files to use instead of those made here')
    parser.add_argument('--number', type=int, default=32, metavar='N', help='pictures of each size made here (32)')
    args = parser.parse_args()
    harness.prepare(parser, args)
    if args.number < 1:
        parser.exit(1, f'error: --number={args.number} must be at least 1.\n')
    if args.images and not any(path.suffix.lower() in ('.jpg', '.jpeg') for path in args.images.rglob('*')):
        parser.exit(1, f'error: --images={args.images}: no .jpg or .jpeg file in it.\n')
    cv2.setNumThreads(0 if args.threads == 1 else args.threads)  # as mmengine sets it in a run
    number = min(args.number, 8) if args.quick else args.number
    records = []
    with tempfile.TemporaryDirectory() as work:
        folders = {args.images.name: args.images} if args.images else {}
        for name, size in {} if args.images else SIZES.items():
            folders[name] = Path(work, name)
            write_photographs(folders[name], size, number if size[1] < 2000 else -(-number // 8))
        for name, folder in folders.items():
            records += measure_folder(name, folder, args, Path(work))
            if args.device == 'cuda':
                records.append(measure_cuda(name, folder, args))
    harness.finish(records, args.json)


if __name__ == '__main__':
    main()
