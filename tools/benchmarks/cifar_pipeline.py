"""CIFAR's augmentation in batches beside the hosts' per-image pipeline: images a second up to the network's input.

Ours: indices into the images on the device, RandomCrop, RandomFlip, CIFAR's AutoAugment and Cutout in batches (draws on
the host included), the host's data preprocessor. Baselines, over the same images:

- host: mmpretrain's RandomCrop, mmcv's RandomFlip, mmpretrain's AutoAugment with the same 25 sub-policies, a black
  square by RandomErasing, PackInputs, mmengine's collation, the data preprocessor; on the CPU in this process, with
  ``--device cuda`` by a DataLoader with ``--workers`` processes, whose queue is emptied before each run;
- Pillow: the same with our per-image transforms, whose operations are Pillow's; on the CPU only;
- launches one by one: ours without the CUDA graph; on a GPU only.

``equal``: the batch of this very run is, bit by bit, what Pillow and NumPy give image by image for the same draws. The
hosts' operations are not Pillow's, so that their images differ in kind. The images are generated (random fields whose
spectrum falls as that of photographs) or, with ``--data-root``, CIFAR-10-LT's.

    python tools/benchmarks/cifar_pipeline.py --json cifar_pipeline.json
    python tools/benchmarks/cifar_pipeline.py --device cuda --workers 16
    python tools/benchmarks/cifar_pipeline.py --size 64 --padding 8 --cutout 32
"""
import argparse
import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from cifar_images import load_images
from harness import Record, Timing, add_arguments, compare, finish, hardware, interleave, prepare, timed
from mmengine.dataset import Compose, pseudo_collate
from torch.utils._python_dispatch import TorchDispatchMode

from nbn_mm.datasets.transforms import CIFAR10_POLICY, SIGNED, BatchedPipeline, Plan, apply_operation, magnitude_of

PLACE = 'CIFAR augmentation'
GREY = (128, 128, 128)
HOST_OPERATIONS = {
    'shear_x': ('Shear', 'magnitude', dict(direction='horizontal', pad_val=GREY, interpolation='bicubic')),
    'shear_y': ('Shear', 'magnitude', dict(direction='vertical', pad_val=GREY, interpolation='bicubic')),
    'translate_x': ('Translate', 'magnitude', dict(direction='horizontal', pad_val=GREY)),
    'translate_y': ('Translate', 'magnitude', dict(direction='vertical', pad_val=GREY)),
    'rotate': ('Rotate', 'angle', dict(pad_val=GREY, random_negative_prob=0.)),
    'color': ('ColorTransform', 'magnitude', {}), 'contrast': ('Contrast', 'magnitude', {}),
    'sharpness': ('Sharpness', 'magnitude', {}), 'brightness': ('Brightness', 'magnitude', {}),
    'posterize': ('Posterize', 'bits', {}), 'solarize': ('Solarize', 'thr', {}),
    'auto_contrast': ('AutoContrast', None, {}), 'equalize': ('Equalize', None, {}), 'invert': ('Invert', None, {}),
}


def host_operation(operation: str, probability: float, level: int) -> dict:
    """The config of mmpretrain's counterpart of a step of the policy."""
    kind, argument, options = HOST_OPERATIONS[operation]
    config = dict(type=kind, prob=probability, **options)
    if argument:
        config[argument] = magnitude_of(operation, level)
    if operation in SIGNED:
        config['random_negative_prob'] = 0.5
    return config


def pipelines(args: argparse.Namespace) -> tuple[list[dict], list[dict]]:
    """Configs of the recipe's per-image pipeline and of mmpretrain's."""
    first = [dict(type='RandomCrop', crop_size=args.size, padding=args.padding),
             dict(type='RandomFlip', prob=0.5, direction='horizontal')]
    area = min(args.cutout / args.size, 1)**2
    policies = [[host_operation(*step) for step in pair] for pair in CIFAR10_POLICY]
    erase = dict(type='RandomErasing', erase_prob=1., min_area_ratio=area, max_area_ratio=area, aspect_range=(1., 1.),
                 mode='const', fill_color=(0, 0, 0))
    last = dict(type='PackInputs')
    return ([*first, dict(type='CIFARAutoAugment'), dict(type='CIFARCutout', size=args.cutout), last],
            [*first, dict(type='AutoAugment', policies=policies), erase, last])


class PerImage(torch.utils.data.Dataset):
    """Images through a per-image pipeline."""

    def __init__(self, images: np.ndarray, configs: list[dict]) -> None:
        from mmpretrain.registry import TRANSFORMS
        self.images, self.pipeline = images, Compose([TRANSFORMS.build(config) for config in configs])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        return self.pipeline(dict(img=self.images[index], gt_label=int(index) % 10, sample_idx=int(index)))


class Loaded:
    """Batches of a per-image pipeline, in this process or, with ``workers``, by a DataLoader."""

    def __init__(self, dataset: PerImage, size: int, batches: int, workers: int, preprocessor: torch.nn.Module) -> None:
        self.batches, self.preprocessor, self.waiting = batches, preprocessor, 2 * workers
        sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=10**9)
        loader = torch.utils.data.DataLoader(dataset, size, sampler=sampler, num_workers=workers,
                                             collate_fn=pseudo_collate)
        self.iterator: Iterator = iter(loader)

    def drain(self) -> None:
        """Take what the workers have made ahead."""
        for _ in range(self.waiting):
            next(self.iterator)

    def __call__(self) -> None:
        for batch in itertools.islice(self.iterator, self.batches):
            self.preprocessor(batch, True)


def measure(function: Callable, device: str) -> tuple[float, int]:
    """As the harness does, after emptying a loader's queue."""
    if isinstance(function, Loaded):
        function.drain()
    return timed(function, device)


def by_pillow(images: np.ndarray, pipeline: BatchedPipeline, plan: Plan, args: argparse.Namespace) -> np.ndarray:
    """What the plan gives image by image with Pillow's operations, uint8, shape ``(N, 3, H, W)``."""
    crops, policies, cuts = plan.draws
    results = []
    for i, steps in enumerate(pipeline.transforms[1].steps(policies)):
        image = np.pad(images[i], ((args.padding, args.padding), (args.padding, args.padding), (0, 0)))
        image = image[crops['top'][i]:, crops['left'][i]:][:args.size, :args.size]
        image = np.ascontiguousarray(image[:, ::-1] if crops['flip'][i] else image)
        for operation, magnitude in steps:
            image = apply_operation(image, operation, magnitude)
        top, left = cuts['row'][i] - args.cutout // 2, cuts['column'][i] - args.cutout // 2
        image = image.copy()
        image[max(top, 0):max(top + args.cutout, 0), max(left, 0):max(left + args.cutout, 0)] = 0
        results.append(image)
    return np.stack(results).transpose(0, 3, 1, 2)


class Operations(TorchDispatchMode):
    """Counts tensor operations that compute; views cost no kernel."""
    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # noqa: ANN001, ANN204, torch's signature
        self.count += not function.is_view
        return function(*args, **kwargs or {})


def run(images: np.ndarray, size: int, args: argparse.Namespace) -> list[Record]:
    """All comparisons at one batch size."""
    from mmpretrain.registry import MODELS
    ours_configs, host_configs = pipelines(args)
    preprocessor = MODELS.build(dict(type='ClsDataPreprocessor', mean=[125.3, 123., 113.9], std=[63., 62.1, 66.7],
                                     to_rgb=False)).to(args.device)
    resident = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(args.device)
    batched, generator = BatchedPipeline(ours_configs, capture=args.device == 'cuda'), np.random.default_rng(0)
    batches = max(1, args.images_per_run // size)

    def ours(batched: BatchedPipeline = batched) -> None:
        for _ in range(batches):
            indices = torch.from_numpy(generator.integers(len(images), size=size))
            if args.device == 'cuda':
                indices = indices.pin_memory().to(args.device, non_blocking=True)
            preprocessor(dict(inputs=batched(resident.index_select(0, indices), generator)), True)

    chosen = generator.integers(len(images), size=size)
    plan = batched.draw(generator, size, args.size, args.size)
    batch = resident[torch.from_numpy(chosen).to(args.device)]
    equal = np.array_equal(batched.apply(batch, plan).cpu(), by_pillow(images[chosen], batched, plan, args))
    with Operations() as operations:
        BatchedPipeline(ours_configs).apply(batch, plan)

    workers = args.workers if args.device == 'cuda' else 0
    sides: dict[str, Callable] = {
        'ours': ours, 'host': Loaded(PerImage(images, host_configs), size, batches, workers, preprocessor)}
    if args.device == 'cpu':
        sides['Pillow'] = Loaded(PerImage(images, ours_configs), size, batches, 0, preprocessor)
    else:
        sides['launches one by one'] = partial(ours, BatchedPipeline(ours_configs))
    timings: dict[str, Timing] = interleave(sides, args.runs, args.device, measure=measure)
    label = f'batch {size}, {args.size} pixels, '
    names = {name: f'{label}beside {name}' for name in list(sides)[1:]}
    if workers:
        names['host'] += f', {workers} workers'
    records = [compare(PLACE, setting, timings['ours'], timings[name], equal=equal, device=args.device,
                       threads=args.threads, items=batches * size, unit='images/s') for name, setting in names.items()]
    return [*records, Record(PLACE, f'{label}tensor operations a batch', operations.count, None, 'operations', None,
                             None, None, hardware(args.device, args.threads))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, runs=7)
    parser.add_argument('--batch', type=int, nargs='+', default=[128, 512], help='batch sizes (default: 128 512)')
    parser.add_argument('--size', type=int, default=32, help='side of the images (default: 32)')
    parser.add_argument('--padding', type=int, default=4, help='of the crop (default: 4)')
    parser.add_argument('--cutout', type=int, default=16, help='side of the square (default: 16)')
    parser.add_argument('--images', type=int, default=10000, help='number of images (default: 10000)')
    parser.add_argument('--images-per-run', type=int, help='default: 2048, or 20 times as many on a GPU')
    parser.add_argument('--workers', type=int, default=16, help='of the baseline on a GPU (default: 16)')
    parser.add_argument('--data-root', help='folder of the CIFAR-10 batches; default: generated images')
    args = parser.parse_args()
    prepare(parser, args)
    if min(*args.batch, args.size, args.cutout, args.images, args.workers) < 1 or args.padding < 0:
        parser.exit(1, 'error: --batch, --size, --cutout, --images and --workers must be at least 1, --padding 0.\n')
    try:
        import cv2
        import mmpretrain.models  # noqa: F401, the import registers
    except ImportError as error:
        parser.exit(1, f'error: the baseline needs mmpretrain: {error}\n')
    cv2.setNumThreads(args.threads)
    args.images_per_run = args.images_per_run or 2048 * (20 if args.device == 'cuda' else 1) // (4 if args.quick else 1)
    images = load_images(parser, args.data_root, args.images, args.size)
    finish([record for size in args.batch for record in run(images, size, args)], args.json)


if __name__ == '__main__':
    main()
