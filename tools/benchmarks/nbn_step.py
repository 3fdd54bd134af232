"""What NBN and logit rectification cost: whole training steps and evaluation of ResNet-32 (CIFAR) and ResNet-50.

A training step is forward, loss, backward and the step of SGD, through mmengine's OptimWrapper as in a Runner; the
images lie on the device. Costs are ours / plain BN's, so less is better. In evaluation NBN also runs against its folded
network, with which it must agree to the last bit.

    python tools/benchmarks/nbn_step.py --json nbn_step.json                    # ten minutes on a CPU
    python tools/benchmarks/nbn_step.py --quick                                 # a minute or two
    python tools/benchmarks/nbn_step.py --device cuda --compile                 # the mode for small steps on a GPU
    python tools/benchmarks/nbn_step.py --part compound                         # CompoundBN, one path and both
"""
import argparse
from collections.abc import Callable
from functools import partial

import harness

RUNS = 20
BACKBONES = {
    'resnet32': (dict(type='CIFARResNet', depth=32), 64),
    'resnet50': (dict(type='ResNet', depth=50, num_stages=4, out_indices=(3, )), 2048),
}
# model → classes, size, batch and steps a run on a GPU, on a CPU, with --quick
SIZES = {
    'resnet32': (10, dict(cuda=(32, 512, 20), cpu=(32, 128, 1), quick=(32, 32, 1))),
    'resnet50': (1000, dict(cuda=(224, 128, 5), cpu=(224, 8, 1), quick=(128, 4, 1))),
}


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, RUNS)
    parser.add_argument('--model', choices=(*BACKBONES, 'both'), default='both', help='network (default: both)')
    parser.add_argument('--part', choices=('train', 'eval', 'both', 'compound'), default='both',
                        help='what runs; compound is CompoundBN in place of NBN (default: both)')
    parser.add_argument('--batch', type=int, help='images a step (default: by model and device)')
    parser.add_argument('--size', type=int, help='pixels of an image side (default: by model and device)')
    parser.add_argument('--steps', type=int, help='steps a run (default: by model and device)')
    parser.add_argument('--classes', type=int, help='classes (default: 10 or 1000)')
    parser.add_argument('--compile', nargs='?', const='default', metavar='MODE',
                        help='torch.compile the forward, as `compile` in a config does; MODE as torch.compile has it')
    args = parser.parse_args()
    harness.prepare(parser, args)
    if min(x for x in (args.batch, args.size, args.steps, args.classes, 1) if x is not None) < 1:
        parser.exit(1, 'error: --batch, --size, --steps and --classes must be at least 1.\n')
    return parser, args


def build(model: str, classes: int, nbn: bool = False, lr: bool = False):
    """An mmpretrain classifier with BN or NBN, with or without logit rectification, from the same seed."""
    import torch
    from mmengine.registry import MODELS, DefaultScope
    backbone, channels = BACKBONES[model]
    if nbn:
        backbone = dict(backbone, type='NBNBackbone', base=backbone['type'], nbn=dict())
    predictor = dict(type='RectifiedPredictor', base='Linear') if lr else dict(type='Linear')
    head = dict(type='LongTailClsHead', num_classes=classes, in_channels=channels, predictor=predictor,
                loss=dict(type='CrossEntropyLoss'))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        network = MODELS.build(
            dict(type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head))
    network.init_weights()
    return network


def build_compound(model: str, classes: int, split: bool):
    """The classifier with CompoundBN of three components, on one path or both, that knows the labels of its batches."""
    import torch
    from mmengine.registry import MODELS, DefaultScope

    from nbn_mm.datasets.class_counts import ClassCounts
    from nbn_mm.engine.hooks import CompoundBNHook
    backbone, channels = BACKBONES[model]
    backbone = dict(backbone, type='CompoundBNBackbone', base=backbone['type'],
                    compound=dict(num_components=3, split=split))
    head = dict(type='DualPathClsHead' if split else 'LongTailClsHead', num_classes=classes, in_channels=channels,
                loss=dict(type='CrossEntropyLoss'))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        network = MODELS.build(
            dict(type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head))
    network.init_weights()
    network.backbone.compound.set_class_counts(
        ClassCounts(classes=tuple(map(str, range(classes))), images=tuple(range(classes, 0, -1))))
    CompoundBNHook().before_train(argparse.Namespace(model=network))
    return network


def training(network, images, samples, steps: int, mode: str | None) -> Callable[[], None]:
    """A function that trains a network for some steps."""
    import torch
    from mmengine.optim import build_optim_wrapper
    optimiser = build_optim_wrapper(network, dict(
        optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4),
        constructor='NBNOptimWrapperConstructor', paramwise_cfg=dict(direction_decay_mult=1., magnitude_decay_mult=1.)))
    if mode:
        network.forward = torch.compile(network.forward, mode=mode)
    network.train()

    def run() -> None:
        for _ in range(steps):
            loss, _ = network.parse_losses(network(images, samples, mode='loss'))
            optimiser.update_params(loss)

    return run


def evaluation(network, images, steps: int, mode: str | None) -> Callable:
    """A function that runs evaluation forwards and returns the logits of the last, shape ``(N, C)``."""
    import torch
    network.eval()
    if mode:
        network.forward = torch.compile(network.forward, mode=mode)

    @torch.no_grad()
    def run():
        for _ in range(steps):
            logits = network(images)
        return logits

    return run


def measure(args: argparse.Namespace, model: str) -> list[harness.Record]:
    """The records of one network."""
    import torch
    from mmpretrain.structures import DataSample

    from nbn_mm.models.placement import fold
    classes, sizes = SIZES[model]
    sizes = sizes['quick' if args.quick else args.device]
    given = (args.size, args.batch, args.steps)
    size, batch, steps = (value or usual for value, usual in zip(given, sizes, strict=True))
    classes = args.classes or classes
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, size, size, generator=generator).to(args.device)
    labels = torch.randint(classes, (batch, ), generator=generator).to(args.device)
    samples = [DataSample().set_gt_label(label) for label in labels]
    how = f'{model}, batch {batch}, {size} px, {"eager" if not args.compile else "compiled"}'
    place = 'NBN itself'
    compared = partial(harness.compare, device=args.device, threads=args.threads, cost=True)
    records = []
    if args.part == 'compound':
        networks = dict(bn=build(model, classes), one=build_compound(model, classes, split=False),
                        both=build_compound(model, classes, split=True))
        sides = {name: training(network.to(args.device), images, samples, steps, args.compile)
                 for name, network in networks.items()}
        timings = harness.interleave(sides, args.runs, args.device, warmup=2)
        return [compared('CompoundBN', f'training step, {how}, {shown}', timings[name], timings['bn'], equal=None)
                for name, shown in (('one', 'compound path'), ('both', 'compound and split path'))]
    if args.part != 'eval':
        kinds = dict(bn={}, nbn=dict(nbn=True), nbn_lr=dict(nbn=True, lr=True))
        sides = {name: training(build(model, classes, **kind).to(args.device), images, samples, steps, args.compile)
                 for name, kind in kinds.items()}
        timings = harness.interleave(sides, args.runs, args.device, warmup=2)
        for name, shown in (('nbn', 'NBN'), ('nbn_lr', 'NBN + LR')):
            records.append(compared(place, f'training step, {how}, {shown}', timings[name], timings['bn'], equal=None))
    if args.part != 'train':
        network = build(model, classes, nbn=True).to(args.device)
        plain = build(model, classes).to(args.device)
        folded = fold(move(network))[0]
        sides = {name: evaluation(side, images, steps, args.compile)
                 for name, side in (('bn', plain), ('nbn', network), ('folded', folded))}
        equal = torch.equal(sides['nbn'](), sides['folded']())
        timings = harness.interleave(sides, args.runs, args.device, warmup=2)
        for name, shown, same in (('bn', 'BN', None), ('folded', 'folded', equal)):
            records.append(compared(place, f'evaluation, {how}, against {shown}', timings['nbn'], timings[name],
                                    equal=same))
    return records


def move(network):
    """Move the vectors and the magnitude away from their start, so that equal outputs say something."""
    import torch
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.backbone.parameters():
            if parameter.dim() < 2:
                parameter.add_(0.1 * torch.rand(parameter.shape, generator=generator).to(parameter))
    return network


def main() -> None:
    parser, args = parse_args()
    try:
        from mmpretrain.models import ImageClassifier  # noqa: F401

        import nbn_mm  # noqa: F401, registers
    except ImportError as error:
        parser.exit(1, f'error: this benchmark needs mmpretrain: {error}\n')
    from mmengine.logging import MMLogger
    MMLogger.get_instance('nbn_step', log_level='ERROR')  # building a network logs each of its parameters
    records = []
    for model in BACKBONES if args.model == 'both' else (args.model, ):
        records += measure(args, model)
    harness.finish(records, args.json)


if __name__ == '__main__':
    main()
