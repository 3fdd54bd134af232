"""The published layouts through the leaves' own pipelines: workers, training, evaluation on the test list."""
from pathlib import Path

import pytest
import torch
from image_files import imagenet_lt, inaturalist, places_lt

pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')
from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def small(leaf, root, work_dir, num_classes):
    """The leaf with a tiny network, tiny images and batches; its data sets, pipelines, loss and hooks stay."""
    cfg = Config.fromfile(CONFIGS / leaf)
    cfg.merge_from_dict({
        'work_dir': str(work_dir), 'experiment_name': work_dir.name, 'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1, 'param_scheduler': [], 'model.head.in_channels': 64,
        'model.head.num_classes': num_classes, 'model.data_preprocessor.num_classes': num_classes,
        'val_evaluator': [dict(type='ShotGroupMetric', topk=(1, ))],
        'test_evaluator': [dict(type='ShotGroupMetric', topk=(1, ))]})
    cfg.model.backbone = dict(type='CIFARResNet', depth=8)
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.batch_size, loader.num_workers, loader.persistent_workers = 4, 1, True
        loader.dataset.data_root = str(root)
        for step in loader.dataset.pipeline:
            step.update({key: 24 if step.type == 'ResizeEdge' else 16 for key in ('scale', 'crop_size') if key in step})
    return cfg


@pytest.mark.parametrize(('leaf', 'make', 'num_classes', 'tested', 'selected'), [
    ('imagenet_lt/resnext50_bn_bsl_imagenet_lt.py', imagenet_lt, 3, 6, True),
    ('places_lt/resnet152_bn_ce_places_lt.py', places_lt, 3, 3, True),
    ('inat18/resnet50_bn_bsl_inat18.py', inaturalist, 2, 4, False)])
def test_a_leaf_trains_and_is_tested(tmp_path, leaf, make, num_classes, tested, selected):
    runner = Runner.from_cfg(small(leaf, make(tmp_path / 'data'), tmp_path / 'run', num_classes))
    before = {name: value.clone() for name, value in runner.model.named_parameters()}
    runner.train()
    assert any(not torch.equal(before[name], value) for name, value in runner.model.named_parameters())
    metrics = runner.test()
    assert 0 <= metrics['shot/all_top1'] <= 100
    assert len(runner.test_dataloader.dataset) == tested
    assert runner.message_hub.get_scalar('train/loss').current() > 0
    # where there is a validation list, its best epoch is kept; iNaturalist's counts at its end
    assert len(list((tmp_path / 'run').glob('best_shot_all_top1_epoch_*.pth'))) == selected
