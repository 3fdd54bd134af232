"""LogHistoryHook: the same log, shorter histories."""
import json
import time

import pytest

pytest.importorskip('mmpretrain', reason='the run is of mmpretrain')
import torch  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from tiny_classification import config  # noqa: E402

from nbn_mm.engine.hooks import LogHistoryHook  # noqa: E402


def run(work_dir, keep, **options):
    cfg = config(work_dir, epochs=3, **options)
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=1)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
    if keep is not None:
        cfg.default_hooks.log_history = dict(type='LogHistoryHook', keep=keep)
    cfg.experiment_name = f'log_history_{time.time()}'  # two runs of one second would share a message hub
    runner = Runner.from_cfg(cfg)
    runner.train()
    scalars = next(work_dir.rglob('vis_data/scalars.json')).read_text().splitlines()
    checkpoint = torch.load(work_dir / 'epoch_3.pth', weights_only=False)
    lines = [{key: value for key, value in json.loads(line).items() if 'time' not in key and key != 'memory'}
             for line in scalars]
    return lines, checkpoint['message_hub']['log_scalars']


def test_the_log_is_the_same_and_the_history_short(tmp_path):
    options = dict(log_processor=dict(window_size=3))
    host, whole = run(tmp_path / 'host', None, **options)
    ours, kept = run(tmp_path / 'ours', 4, **options)
    assert ours == host and len(host) > 9 and 'loss' in host[0]
    assert set(kept) == set(whole) and 'train/loss' in kept
    for name, buffer in kept.items():
        history, counts = buffer.data
        expected, expected_counts = whole[name].data
        if name.startswith('train/'):
            assert len(history) == 4 < len(expected)
        else:
            assert len(history) == len(expected)
        if 'time' not in name:
            assert history.tolist() == expected[-len(history):].tolist()
            assert counts.tolist() == expected_counts[-len(counts):].tolist()


@pytest.mark.parametrize('processor, said', [
    (dict(window_size=5), 'log_processor.window_size=5 reads 5 values, but LogHistoryHook keeps 4'),
    (dict(window_size=2, custom_cfg=[dict(data_src='loss', method_name='mean', window_size='epoch')]),
     r"custom_cfg\[0\].window_size='epoch' reads 5 values"),
    (dict(window_size=2, custom_cfg=[dict(data_src='loss', log_name='all', method_name='mean', window_size='global')]),
     r"custom_cfg\[0\].window_size='global' reads 15 values"),
])
def test_windows_that_are_too_long(tmp_path, processor, said):
    with pytest.raises(ValueError, match=said):
        run(tmp_path, 4, log_processor=processor)


def test_long_windows_within_what_is_kept(tmp_path):
    custom = [dict(data_src='loss', log_name='epoch_loss', method_name='mean', window_size='epoch')]
    options = dict(log_processor=dict(window_size=2, custom_cfg=custom))
    host, _ = run(tmp_path / 'host', None, **options)
    ours, _ = run(tmp_path / 'ours', 5, **options)
    assert ours == host and any('epoch_loss' in line for line in ours)


def test_wrong_number():
    for keep in (0, -3, 2.5, True, None):
        with pytest.raises(ValueError, match=f'keep={keep!r} must be a positive integer'):
            LogHistoryHook(keep)
