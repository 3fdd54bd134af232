"""Recipes and protocols of the leaves on sets of image files."""
import re
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1] / 'configs'
FAMILIES = ('imagenet_lt', 'inat18', 'places_lt')
# family -> epochs, images a step, learning rate; weight decay 5e-4 and a cosine over all epochs everywhere
RECIPES = dict(imagenet_lt=(90, 512, 0.2), inat18=(200, 512, 0.2), places_lt=(30, 256, 0.01))


def leaves(*families, plain=False):
    paths = [path for family in families for path in sorted((ROOT / family).glob('*.py'))]
    pattern = re.compile(r'res(net|next)\d+_(bn|nbn|nbn_lr)_(ce|bsl)(_90e)?_(imagenet_lt|inat18|places_lt)')
    return [path for path in paths if not plain or pattern.fullmatch(path.stem)]


@pytest.mark.parametrize('path', leaves(*FAMILIES, plain=True), ids=lambda path: path.stem)
def test_recipe(path):
    cfg = Config.fromfile(path)
    epochs, batch, rate = RECIPES[path.parent.name]
    epochs = 90 if '_90e_' in path.stem else epochs
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == ('SGD', rate, 0.9, 5e-4)
    assert cfg.global_batch_size == cfg.train_dataloader.batch_size == batch
    assert (cfg.train_cfg.type, cfg.train_cfg.max_epochs) == ('EpochBasedTrainLoop', epochs)
    assert [(s.type, s.T_max, s.by_epoch) for s in cfg.param_scheduler] == [('CosineAnnealingLR', epochs, True)]
    assert cfg.optim_wrapper.paramwise_cfg == dict(direction_decay_mult=1, magnitude_decay_mult=1)

    train = cfg.train_dataloader.dataset.pipeline
    steps = ['LoadImageFromFile', 'RandomResizedCrop', 'RandomFlip', 'TableColorJitter', 'PackInputs']
    if path.parent.name == 'inat18':
        steps.remove('TableColorJitter')
    else:
        assert train[3] == dict(type='TableColorJitter', brightness=0.4, contrast=0.4, saturation=0.4)
    assert [step.type for step in train] == steps and train[1].scale == 224
    for name in ('val', 'test'):
        pipeline = cfg[f'{name}_dataloader'].dataset.pipeline
        assert pipeline[1] == dict(type='ResizeEdge', scale=256, edge='short')
        assert pipeline[2] == dict(type='CenterCrop', crop_size=224)
    mean, std = cfg.model.data_preprocessor.mean, cfg.model.data_preprocessor.std
    inat = ([.466, .471, .380], [.195, .194, .192])
    imagenet = ([.485, .456, .406], [.229, .224, .225])
    for values, expected in zip((mean, std), inat if path.parent.name == 'inat18' else imagenet, strict=True):
        assert values == pytest.approx([255 * value for value in expected])


def test_every_plain_row_of_the_tables_has_a_leaf():
    names = {path.stem for path in leaves(*FAMILIES, plain=True)}
    rows = {f'{net}_{norm}_{loss}_imagenet_lt' for net in ('resnet50', 'resnext50') for norm in ('bn', 'nbn', 'nbn_lr')
            for loss in ('ce', 'bsl')}
    rows |= {f'resnet50_{norm}_{loss}_inat18' for norm in ('bn', 'nbn_lr') for loss in ('ce', 'bsl')}
    rows |= {'resnet50_bn_ce_90e_inat18', 'resnet50_nbn_ce_90e_inat18', 'resnet152_bn_ce_places_lt',
             'resnet152_nbn_lr_bsl_places_lt'}
    assert rows <= names


@pytest.mark.parametrize('path', leaves(*FAMILIES), ids=lambda path: path.stem)
def test_which_epoch_counts(path):
    """The best one on the validation list where there is one beside the test; a key that no metric gives ends a run."""
    cfg = Config.fromfile(path)
    metrics = cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]
    assert 'ShotGroupMetric' in [metric.type for metric in metrics]
    best = cfg.default_hooks.checkpoint.get('save_best')
    assert best == (None if path.parent.name == 'inat18' else 'shot/all_top1')
