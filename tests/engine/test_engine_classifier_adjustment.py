"""DisAlign, MiSLAS, IIF and weight balancing: both stages in one run on Digits-LT, as in Tiny-ImageNet-LT's leaves."""
import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# what learns in stage 2, and whether the statistics of batch norm move on
METHODS = dict(
    disalign=({f'head.fc.{name}' for name in ('scale_offset', 'shift', 'confidence_weight', 'confidence_bias')}, False),
    mislas=({'head.fc.scales', 'head.fc.weight', 'head.fc.bias'}, True),
    iif=({'head.fc.weight', 'head.fc.frequency_weights'}, True),
    ltrwd=({'head.fc.weight', 'head.fc.bias'}, True))


@pytest.fixture(autouse=True)
def quick_runs(monkeypatch):
    """What takes longer than these runs: formatting the config, and collecting garbage when a data set is built."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    monkeypatch.setattr('mmengine.dataset.base_dataset.gc.collect', lambda *args: 0)


def method_config(method, work_dir, norm='nbn', **top):
    """The method of the Tiny-ImageNet-LT leaf on Digits-LT: stage 1 of two epochs, stage 2 of one."""
    leaf = Config.fromfile(CONFIGS / f'tiny_imagenet_lt/resnet18q_{norm}_{method}_8e_tiny_imagenet_lt.py')
    cfg = Config.fromfile(CONFIGS / 'demo/resnet8_bn_ce_digits_lt.py')
    if norm == 'nbn':
        cfg.model.backbone = dict(cfg.model.backbone, type='NBNBackbone', base='CIFARResNet')
    cfg.model.head.predictor, cfg.model.head.loss = leaf.model.head.predictor, leaf.model.head.loss
    if 'train_cfg' in leaf.model:
        cfg.model.train_cfg = leaf.model.train_cfg
        cfg.model.data_preprocessor.num_classes = 10
    hooks = {key: leaf.default_hooks[key] for key in ('stage', 'max_norm') if key in leaf.default_hooks}
    for stage in hooks['stage']['stages']:
        stage.begin = min(stage.begin, 2)
    if 'max_norm' in hooks:
        hooks['max_norm']['begin'] = 2
    cfg.default_hooks.update(hooks, checkpoint=dict(type='CheckpointHook', interval=1))
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.pipeline = cfg.val_dataloader.dataset.pipeline  # no draws that a resumed run lacks
    cfg.train_cfg.update(max_epochs=3, val_interval=3)
    cfg.optim_wrapper = leaf.optim_wrapper
    restart = leaf.param_scheduler[1]
    cfg.param_scheduler = [dict(restart, begin=0, end=3, periods=[2, 1])]
    cfg.update(work_dir=str(work_dir), log_level='WARNING', experiment_name=f'{method}_{Path(work_dir).name}')
    cfg.update(top)
    return cfg


def state(work_dir, epoch):
    return torch.load(Path(work_dir) / f'epoch_{epoch}.pth', weights_only=False)['state_dict']


def trained(cfg):
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.parametrize('method', METHODS)
def test_both_stages_in_one_run(method, tmp_path):
    runner = trained(method_config(method, tmp_path / 'one'))
    first, last = state(tmp_path / 'one', 2), state(tmp_path / 'one', 3)
    learn, shifted = METHODS[method]
    different = {key for key in last if not torch.equal(first[key], last[key])}
    statistics = {key for key in last if key.endswith(('running_mean', 'running_var', 'num_batches_tracked'))}
    assert statistics and different == learn | (statistics if shifted else set())
    # stage 1 was the plain network
    fc = {key[len('head.fc.'):]: value for key, value in first.items() if key.startswith('head.fc.')}
    if method == 'disalign':
        assert not any(fc[key].any() for key in ('scale_offset', 'shift', 'confidence_weight', 'confidence_bias'))
    if method == 'mislas':
        assert (fc['scales'] == 1).all() and runner.model.data_preprocessor.batch_augments is None
        assert runner.model.head.loss_module.active
    if method == 'iif':
        assert (fc['frequency_weights'] == 1).all()
        weights = last['head.fc.frequency_weights']
        assert (weights[1:] > weights[:-1]).all()
    if method == 'ltrwd':
        radius = torch.load(tmp_path / 'one' / 'epoch_3.pth', weights_only=False)['meta']['max_norm_radius']
        norms = fc['weight'].norm(dim=1)
        assert norms.min() < radius < norms.max()
        assert last['head.fc.weight'].norm(dim=1).max() <= radius * (1 + 1e-6)
        assert {group['weight_decay'] for group in runner.optim_wrapper.optimizer.param_groups} == {0.1}
    # a test from the checkpoint is the network that was trained
    network = runner.model.eval()
    cfg = method_config(method, tmp_path / 'test', load_from=str(tmp_path / 'one' / 'epoch_3.pth'))
    tester = Runner.from_cfg(cfg)
    tester.test()
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(tester.model.eval()(images), network(images))


@pytest.mark.parametrize('method', ['mislas', 'ltrwd'])
def test_a_resumed_run_goes_on_in_stage_2(method, tmp_path):
    trained(method_config(method, tmp_path / 'one'))
    cfg = method_config(method, tmp_path / 'two', resume=True, load_from=str(tmp_path / 'one' / 'epoch_2.pth'))
    trained(cfg)
    whole, resumed = state(tmp_path / 'one', 3), state(tmp_path / 'two', 3)
    assert {key for key in whole if not torch.equal(whole[key], resumed[key])} == set()


@pytest.mark.parametrize(('method', 'plain_predictor'), [
    ('disalign', dict(type='Linear')), ('iif', dict(type='CosineLinear', scale=16.0))])
def test_stage_2_in_a_run_of_its_own(method, plain_predictor, tmp_path):
    """From the checkpoint of a plain network, whose classifier stage 2 begins with."""
    plain = method_config(method, tmp_path / 'one', norm='bn')
    plain.model.head.predictor = plain_predictor
    plain.model.head.loss = dict(type='CrossEntropyLoss')
    plain.default_hooks.pop('stage')
    plain.train_cfg.max_epochs = plain.train_cfg.val_interval = 1
    trained(plain)
    cfg = method_config(method, tmp_path / 'two', norm='bn')
    cfg.model.head.predictor.pop('active', None)
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 1
    cfg.param_scheduler = []
    cfg.optim_wrapper.optimizer.lr = 1e-3
    stage = dict(cfg.default_hooks.stage.stages[-1], begin=0)
    stage.pop('set', None)
    cfg.default_hooks.stage.stages = [stage]
    with pytest.raises(RuntimeError, match='needs the network of the stage before, but no checkpoint was loaded'):
        trained(copy.deepcopy(cfg))
    cfg.update(load_from=str(tmp_path / 'one' / 'epoch_1.pth'), experiment_name=f'{method}_two_runs')
    trained(cfg)
    first, last = state(tmp_path / 'one', 1), state(tmp_path / 'two', 1)
    learn, shifted = METHODS[method]
    kept = {key for key in first if key not in learn and not (shifted and ('running' in key or 'tracked' in key))}
    assert 'backbone.conv1.weight' in kept and all(torch.equal(first[key], last[key]) for key in kept)
    if method == 'disalign':
        assert last['head.fc.scale_offset'].abs().max() > 0
    else:
        assert (last['head.fc.frequency_weights'] > 1).all()
        assert not torch.equal(first['head.fc.weight'], last['head.fc.weight'])
