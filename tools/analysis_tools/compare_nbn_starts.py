"""Compare the starts of NBN in a detector whose backbone is pretrained: BN, NBN as pretrained, NBN at magnitude 1.

Two steps, each small enough for a CPU: a ResNet-18 of half width learns to classify Tiny-ImageNet-LT (64 × 64), and
the small Mask R-CNN of configs/demo starts from it on Shapes-LVIS, with frozen first stage and statistics, once for
each start and seed. With ``--last-stage-only`` it sees nothing but the output of the last stage, where NBN stands,
dilated to stride 8. Prints a Markdown table.
"""
import argparse
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the package of this checkout, installed or not

from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from nbn_mm.engine.hooks import change_of_outputs  # noqa: E402

DETECTOR = ROOT / 'configs' / 'demo' / 'mask_rcnn_r18_bn_seesaw_shapes_lvis.py'
WIDTH = 32
LAST = 50
STARTS = {
    'BN': None,
    "NBN, `'pretrained'`": dict(init_magnitude='pretrained'),
    'NBN, 1.0': dict(init_magnitude=1.0),
}


LAST_STAGE_ONLY = dict(
    backbone=dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)),
    neck=dict(start_level=3, num_outs=1),
    rpn_head=dict(anchor_generator=dict(scales=[3, 5], strides=[8])),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[8]), mask_roi_extractor=dict(featmap_strides=[8])))


def sgd(lr: float, weight_decay: float, iters: int, warmup: int) -> dict[str, Any]:
    """Optimiser, warm-up and cosine of a run of ``iters`` iterations."""
    return dict(
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=weight_decay),
                           clip_grad=dict(max_norm=10, norm_type=2)),
        param_scheduler=[dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup),
                         dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup, end=iters)],
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=iters, val_interval=iters))


def pretrain(images: Path, work_dir: Path, iters: int) -> Path:
    """Train the backbone as a classifier.

    Args:
        images (Path): Tiny-ImageNet-LT, with its two lists.
        work_dir (Path): Where the checkpoint goes.
        iters (int): Iterations of 64 images.

    Returns:
        Path: The checkpoint.
    """
    def loader(split: str, *augment: dict) -> dict:
        dataset = dict(type='CustomDataset', data_root=str(images), ann_file=f'TinyImageNet_LT_{split}.txt',
                       pipeline=[dict(type='LoadImageFromFile'), *augment, dict(type='PackInputs')])
        return dict(batch_size=64, num_workers=0, dataset=dataset,
                    sampler=dict(type='DefaultSampler', shuffle=bool(augment)))

    Runner.from_cfg(Config(dict(
        default_scope='mmpretrain', custom_imports=dict(imports=['nbn_mm']), work_dir=str(work_dir),
        experiment_name='pretrain', randomness=dict(seed=0),
        model=dict(
            type='ImageClassifier',
            data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
            backbone=dict(type='ResNet', depth=18, stem_channels=64, base_channels=WIDTH, zero_init_residual=False),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=200, in_channels=8 * WIDTH, topk=(1, ))),
        train_dataloader=loader('train', dict(type='RandomResizedCrop', scale=64, crop_ratio_range=(0.4, 1.0)),
                                dict(type='RandomFlip', prob=0.5)),
        val_dataloader=loader('test'), val_cfg=dict(), val_evaluator=dict(type='Accuracy', topk=(1, )),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=iters),
                           logger=dict(type='LoggerHook', interval=100)),
        **sgd(0.1, 5e-4, iters, min(100, iters // 2))))).train()
    return work_dir / f'iter_{iters}.pth'


def detect(start: str, seed: int, pretrained: Path, shapes: Path, work_dir: Path, iters: int, lr: float,
           last_stage_only: bool = False) -> list[float]:
    """Train and evaluate a detector.

    Args:
        start (str): A key of ``STARTS``.
        seed (int): Seed of the new layers and of the order.
        pretrained (Path): Checkpoint of the backbone.
        shapes (Path): Shapes-LVIS.
        work_dir (Path): Work dir.
        iters (int): Iterations of 4 images.
        lr (float): Learning rate.
        last_stage_only (bool): Whether the detector sees the last stage alone. Defaults to False.

    Returns:
        list[float]: Change of the last stage's output at the start, mean loss of iterations 1–50 and of the last 50,
        box and mask AP in percent.
    """
    cfg = Config.fromfile(DETECTOR)
    nbn = STARTS[start]
    cfg.merge_from_dict(dict(
        work_dir=str(work_dir), experiment_name=work_dir.name, randomness=dict(seed=seed),
        model=dict(
            backbone=dict(
                base_channels=WIDTH, stem_channels=64, frozen_stages=1, norm_eval=True,
                init_cfg=dict(_delete_=True, type='Pretrained', checkpoint=str(pretrained), prefix='backbone.'),
                **({} if nbn is None else dict(type='NBNBackbone', base='ResNet', nbn=nbn))),
            neck=dict(in_channels=[WIDTH * 2**stage for stage in range(4)])),
        default_hooks=dict(checkpoint=dict(by_epoch=False, interval=10 * iters, save_last=False))))
    if last_stage_only:
        cfg.merge_from_dict(dict(model=LAST_STAGE_ONLY))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(shapes)
    cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = str(shapes / 'annotations' / 'val.json')
    for key, value in sgd(lr, 1e-4, iters, min(50, iters // 2)).items():
        cfg[key] = value
    runner = Runner.from_cfg(cfg)
    runner.model.init_weights()
    # drawn for each start, so that the random numbers of a seed are the same
    batch = runner.model.data_preprocessor(next(iter(runner.train_dataloader)), False)
    change = 0. if nbn is None else change_of_outputs(runner.model.backbone, batch['inputs'])[-1]
    runner.train()
    history = runner.message_hub
    losses = history.get_scalar('train/loss').data[0]
    scores = [100 * history.get_scalar(f'val/lvis/{kind}_AP').current() for kind in ('bbox', 'segm')]
    return [change, losses[:LAST].mean(), losses[-LAST:].mean(), *scores]


def main() -> None:
    """Parse the arguments, run, and print the table."""
    parser = argparse.ArgumentParser(description='Compare the starts of NBN in a detector with a pretrained backbone.')
    parser.add_argument('shapes', type=Path, help='Shapes-LVIS, of tools/dataset_converters/make_shapes_lvis.py')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/nbn_starts'))
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--images', type=Path, help='Tiny-ImageNet-LT: pretrain the backbone')
    source.add_argument('--pretrained', type=Path, help='checkpoint of an earlier run')
    parser.add_argument('--pretrain-iters', type=int, default=2500, metavar='N', help='of 64 images (2500)')
    parser.add_argument('--iters', type=int, default=300, metavar='N', help='of 4 images, for each detector (300)')
    parser.add_argument('--lr', type=float, default=0.01, help='of the detectors (0.01)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    parser.add_argument('--last-stage-only', action='store_true', help='detect from the output of the last stage')
    args = parser.parse_args()
    checkpoint = args.pretrained or pretrain(args.images, args.work_dir / 'pretrain', args.pretrain_iters)
    rows = []
    for number, start in enumerate(STARTS):
        for seed in args.seeds:
            work_dir = args.work_dir / f'{"last_stage" if args.last_stage_only else "fpn"}_start{number}_seed{seed}'
            rows.append((start, seed, detect(start, seed, checkpoint, args.shapes, work_dir, args.iters, args.lr,
                                             args.last_stage_only)))
    print(f'| start | seed | change | loss, first {LAST} | loss, last {LAST} | box AP | mask AP |\n' + '|---' * 7 + '|')
    for start, seed, (change, first, last, box, mask) in rows:
        print(f'| {start} | {seed} | {change:.3g} | {first:.3f} | {last:.3f} | {box:.1f} | {mask:.1f} |')


if __name__ == '__main__':
    main()
