"""Memory format, compilation, TF32 and bfloat16 from the config, in a Runner on a CPU."""
import copy
import logging
import time
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseTTAModel
from mmengine.runner import Runner

from nbn_mm.engine.hooks import SpeedHook
from nbn_mm.engine.optimizers import BFloat16OptimWrapper
from nbn_mm.utils.hosts import host_error

needs_host = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')

if host_error('mmpretrain') is None:
    from device_classification import device_config


@pytest.fixture(autouse=True)
def quick_runs(monkeypatch):
    """Formatting the config and collecting garbage take longer than these runs."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    monkeypatch.setattr('mmengine.dataset.base_dataset.gc.collect', lambda *args: 0)


def run(work_dir, speed=None, iterations=3, **changes):
    loop = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations)
    cfg = device_config(work_dir, train_cfg=loop, val=True, metric='ShotGroupMetric',
                        hooks=dict(speed=dict(type='SpeedHook', **(speed or {}))))
    for split in ('val', 'test'):
        cfg[f'{split}_evaluator']['metrics'][0]['topk'] = (1, )
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    cfg.merge_from_dict(changes)
    cfg.experiment_name = f'speed_{time.time()}'
    runner = Runner.from_cfg(Config(copy.deepcopy(cfg.to_dict())))
    runner.train()
    return runner


def losses(runner):
    return runner.message_hub.get_scalar('train/loss').data[0]


@needs_host
def test_channels_last_changes_the_memory_alone(tmp_path):
    plain, changed = run(tmp_path), run(tmp_path, dict(channels_last=True))
    weight = changed.model.backbone.conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    assert losses(changed) == pytest.approx(losses(plain), rel=1e-4)
    assert plain.model.state_dict().keys() == changed.model.state_dict().keys()
    assert 'shot/all_top1' in changed.test()


@needs_host
def test_parts_are_compiled_in_place(tmp_path):
    """Tracing alone; torch's own tests cover its code generators."""
    plain = run(tmp_path)
    changed = run(tmp_path, dict(compile=dict(modules=['backbone', 'neck'], backend='eager')))
    assert changed.model.backbone._compiled_call_impl is not None and changed.model.head._compiled_call_impl is None
    assert losses(changed) == pytest.approx(losses(plain), rel=1e-5)
    assert plain.model.state_dict().keys() == changed.model.state_dict().keys()


@needs_host
def test_the_whole_step_is_compiled_by_mmengine(tmp_path):
    assert losses(run(tmp_path, compile=dict(backend='eager'))) == pytest.approx(losses(run(tmp_path)), rel=1e-5)


@needs_host
def test_bfloat16_computes_in_it_and_keeps_float32(tmp_path):
    plain = run(tmp_path)
    changed = run(tmp_path, optim_wrapper=dict(type='BFloat16OptimWrapper'))
    assert isinstance(changed.optim_wrapper, BFloat16OptimWrapper)
    assert all(value.dtype == torch.float32 for value in changed.model.parameters())
    assert losses(changed) == pytest.approx(losses(plain), rel=0.05) and (losses(changed) != losses(plain)).any()


def test_bfloat16_runs_the_forward_under_autocast():
    model = torch.nn.Linear(2, 2)
    wrapper = BFloat16OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    with wrapper.optim_context(model):
        loss = model(torch.ones(1, 2))
    assert loss.dtype == torch.bfloat16 and model(torch.ones(1, 2)).dtype == torch.float32
    before = model.weight.detach().clone()
    wrapper.update_params(loss.float().sum())
    assert not torch.equal(before, model.weight)


def test_tf32_is_set_and_else_left():
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for value in (True, False):
            SpeedHook(tf32=value).before_run(None)
            SpeedHook().before_run(None)
            assert all(backend.allow_tf32 == value for backend in backends)
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


@needs_host
def test_unknown_parts_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"names 'trunk', which the model lacks.*'backbone'"):
        run(tmp_path, dict(compile=dict(modules=['trunk'])))


class Flips(BaseTTAModel):

    def merge_preds(self, data_samples_list):
        return data_samples_list


def test_parts_are_found_behind_test_time_augmentation():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    network.test_step = None
    runner = SimpleNamespace(model=Flips(network), logger=logging.getLogger(__name__))
    SpeedHook(channels_last=True, compile=dict(modules=['0'], backend='eager')).before_test(runner)
    assert network[0]._compiled_call_impl is not None
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('modules', [(), 'backbone', [''], [3]])
def test_compile_names_parts(modules):
    with pytest.raises(ValueError, match='must be a list of names'):
        SpeedHook(compile=dict(modules=modules))
