"""cRT and LWS on Digits-LT, from one linear checkpoint: what they change, and what that is good for."""
import copy
from pathlib import Path

import pytest
from mmengine.config import Config

from nbn_mm.utils.hosts import host_error

pytest.importorskip('sklearn', reason='Digits-LT comes with scikit-learn')
pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')

if host_error('mmpretrain') is None:
    from staged_runs import changed, loaded, run, weights

DEMO = Path(__file__).resolve().parents[2] / 'configs/demo/resnet8_bn_ce_digits_lt.py'
BALANCED = dict(_delete_=True, type='ClassBalancedSampler', num_samples_per_class=4)


def digits(work_dir, epochs):
    cfg = Config.fromfile(DEMO)
    resize = [dict(type='Resize', scale=16, interpolation='bilinear'), dict(type='PackInputs')]
    cfg.merge_from_dict(dict(work_dir=str(work_dir), log_level='WARNING', train_cfg=dict(
        max_epochs=epochs, val_interval=epochs)))
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False, collate_fn=dict(type='default_collate'))
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.collate_fn = dict(type='default_collate')
    cfg.train_dataloader.dataset.pipeline = resize
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, by_epoch=True, convert_to_iter_based=True)]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=epochs)
    return cfg


@pytest.fixture(scope='module')
def stage_1(tmp_path_factory):
    """Plain training for 8 epochs: its checkpoint and its accuracy on the four few-shot classes."""
    folder = tmp_path_factory.mktemp('digits')
    return folder / 'epoch_8.pth', few_shot_accuracy(run(digits(folder, 8)))


def few_shot_accuracy(runner):
    return runner.message_hub.get_scalar('val/shot/few_top1').current()


def stage_2(checkpoint, work_dir, freeze, reinit=(), predictor=None):
    cfg = digits(work_dir, 3)
    cfg.load_from = str(checkpoint)
    cfg.merge_from_dict(dict(
        model=dict(head=dict(predictor=predictor or dict(type='Linear'))),
        train_dataloader=dict(sampler=copy.deepcopy(BALANCED)),
        default_hooks=dict(stage=dict(type='StageHook', stages=[
            dict(begin=0, freeze=freeze, norm='frozen', reinit=list(reinit))]))))
    return run(cfg)


def test_classifier_retraining(stage_1, tmp_path):
    checkpoint, accuracy = stage_1
    runner = stage_2(checkpoint, tmp_path, [r'^backbone\.'], ['head.fc'])
    assert changed(loaded(checkpoint)['state_dict'], weights(runner)) == {'head.fc.weight', 'head.fc.bias'}
    assert few_shot_accuracy(runner) > accuracy + 2


def test_weight_scaling_from_a_linear_checkpoint(stage_1, tmp_path):
    checkpoint, accuracy = stage_1
    runner = stage_2(checkpoint, tmp_path, [r'^backbone\.', r'^head\.fc\.(weight|bias)'],
                     predictor=dict(type='LearnableWeightScaling'))
    after = weights(runner)
    scales = after.pop('head.fc.scales')
    assert not changed(loaded(checkpoint)['state_dict'], after)
    assert scales[6:].mean() > scales[:4].mean() + 0.1, 'few-shot classes (6 to 9) gain'
    assert few_shot_accuracy(runner) >= accuracy
