"""A staged run that is interrupted goes on as if nothing had happened, bit by bit."""
import pytest
import torch
from mmengine.config import Config

from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')

if host_error('mmpretrain') is None:
    from staged_runs import CRT, NBN, Seen, changed, loaded, run, stage_config, weights

EMA = [dict(type='EMAHook', momentum=0.1)]
# epochs of 5 batches: stage 2 begins after batch 10, stage 3 after batch 15
STAGES = [dict(CRT, begin=2, norm='magnitude'), dict(begin=3, sampler=dict(type='SquareRootSampler'), norm='shifted')]


@pytest.fixture(autouse=True)
def quick_runs(monkeypatch):
    """What takes longer than these runs: formatting the config, and collecting garbage when a data set is built."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    monkeypatch.setattr('mmengine.dataset.base_dataset.gc.collect', lambda *args: 0)


def in_iterations(stages):
    return [dict(stage, begin=5 * stage['begin'], by_epoch=False,
                 sampler=dict(stage['sampler'], infinite=True)) for stage in stages]


def schedule(by_epoch):
    periods = dict(periods=[2, 2], by_epoch=True, convert_to_iter_based=True) if by_epoch else \
        dict(periods=[10, 10], by_epoch=False)
    return [dict(type='CosineRestartLR', restart_weights=[1, 1], eta_min=0, **periods)]


def same_checkpoints(first, second):
    """The averaged weights and those that are trained."""
    assert not changed(first['state_dict'], second['state_dict'])
    assert not changed(first['ema_state_dict'], second['ema_state_dict'])


@pytest.mark.parametrize(('device', 'stops'), [(False, (1, 2, 3)), (True, (3, 10, 12))], ids=['plain', 'device'])
def test_epochs(tmp_path, device, stops):
    """In stage 1, exactly at the switch, in stage 2 (and, on the device, within epochs)."""
    by_epoch = not device
    hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=by_epoch))
    cfg = stage_config(tmp_path / 'whole', STAGES, device=device, backbone=NBN, custom_hooks=EMA,
                       param_scheduler=schedule(True), hooks=hooks)
    whole = Seen()
    expected = run(cfg, whole)
    name, last = ('epoch', 4) if by_epoch else ('iter', 20)
    for stop in stops:
        rest = Seen()
        resumed = run(cfg, rest, resume=True, load_from=str(tmp_path / f'whole/{name}_{stop}.pth'),
                      work_dir=str(tmp_path / f'from_{stop}'), **{'default_hooks.checkpoint.interval': last})
        assert not changed(weights(expected), weights(resumed)), stop
        assert rest.labels == {i: labels for i, labels in whole.labels.items() if i in rest.labels}
        same_checkpoints(*(loaded(tmp_path / folder / f'{name}_{last}.pth') for folder in ('whole', f'from_{stop}')))


@pytest.mark.parametrize('device', [False, True], ids=['plain', 'device'])
def test_iterations(tmp_path, device):
    cfg = stage_config(tmp_path / 'whole', in_iterations(STAGES), iterations=20, device=device, backbone=NBN,
                       custom_hooks=EMA, param_scheduler=schedule(False))
    whole = Seen()
    expected = run(cfg, whole)
    for stop in (7, 10, 17):
        rest = Seen()
        resumed = run(cfg, rest, resume=True, load_from=str(tmp_path / f'whole/iter_{stop}.pth'),
                      work_dir=str(tmp_path / f'from_{stop}'), **{'default_hooks.checkpoint.interval': 20})
        assert not changed(weights(expected), weights(resumed)), stop
        assert rest.labels == {i: whole.labels[i] for i in range(stop, 20)}
        same_checkpoints(*(loaded(tmp_path / folder / 'iter_20.pth') for folder in ('whole', f'from_{stop}')))


def test_stage_2_of_two_runs_resumes(tmp_path):
    """It began by load_from; going on inside does not re-initialise once more."""
    run(stage_config(tmp_path / 'one', [dict(begin=1, norm='train')], epochs=2))
    cfg = stage_config(tmp_path / 'two', [dict(CRT, begin=0)], epochs=2, load_from=str(tmp_path / 'one/epoch_2.pth'))
    expected = run(cfg)
    resumed = run(cfg, resume=True, load_from=str(tmp_path / 'two/epoch_1.pth'), work_dir=str(tmp_path / 'resumed'))
    assert not changed(weights(expected), weights(resumed))


def test_older_loops_take_the_batches_that_are_done(tmp_path, monkeypatch):
    """mmengine 0.10.3 to 0.10.7 asks the iterator for them instead of calling ``skip_iter``."""
    from mmengine.runner import loops
    cfg = stage_config(tmp_path / 'whole', in_iterations(STAGES[:1]), iterations=14, device=True, backbone=NBN)
    whole = Seen()
    expected = run(cfg, whole)

    def take(loop):
        for _ in range(loop._iter):
            next(loop.dataloader_iterator)

    def run_loop(loop):
        for name in ('before_train', 'before_train_epoch'):
            loop.runner.call_hook(name)
        take(loop)
        while loop._iter < loop._max_iters:
            loop.runner.model.train()
            loop.run_iter(next(loop.dataloader_iterator))
        for name in ('after_train_epoch', 'after_train'):
            loop.runner.call_hook(name)
        return loop.runner.model

    monkeypatch.delattr(loops._InfiniteDataloaderIterator, 'skip_iter', raising=False)
    monkeypatch.setattr(loops.IterBasedTrainLoop, 'run', run_loop)
    for stop in (4, 12):
        rest = Seen()
        resumed = run(cfg, rest, resume=True, load_from=str(tmp_path / f'whole/iter_{stop}.pth'),
                      work_dir=str(tmp_path / f'from_{stop}'))
        assert rest.labels == {i: whole.labels[i] for i in range(stop, 14)}
        assert not changed(weights(expected), weights(resumed)), stop


def test_a_checkpoint_of_a_run_without_the_stage_is_refused(tmp_path):
    """Its classifier was not re-initialised when the stage began."""
    cfg = stage_config(tmp_path / 'without', [dict(begin=3, norm='train')])
    del cfg.default_hooks['stage']
    run(cfg)
    for stop, refused in ((2, False), (3, True)):
        cfg = stage_config(tmp_path / f'with_{stop}', [dict(CRT, begin=2)], resume=True,
                           load_from=str(tmp_path / f'without/epoch_{stop}.pth'))
        if refused:
            with pytest.raises(RuntimeError, match='saved by a run without StageHook'):
                run(cfg)
        else:
            assert torch.isfinite(run(cfg).model.head.fc.weight).all()
