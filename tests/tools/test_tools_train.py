"""tools/train.py, run for real with a config of either host."""

import os
import re
import shutil
import signal
import time

import pytest
import torch
from tool_process import Tool, run_tool


def _weights(path):
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def _rates(output):
    return {float(rate) for rate in re.findall(r'Epoch\(train\).*?lr: (\S+)', output)}


def test_trains_and_validates(cls_run):
    work_dir, output = cls_run
    assert (work_dir / 'epoch_2.pth').is_file()
    assert 'accuracy/top1' in output
    assert _rates(output) == {0.01}


def test_mmdet_trains_and_validates(det_run):
    work_dir, output = det_run
    assert (work_dir / 'epoch_1.pth').is_file()
    assert 'loss_bbox' in output and 'coco/bbox_mAP' in output


def test_no_validate(cls_config, tmp_path):
    code, output = run_tool(
        'train.py',
        cls_config,
        '--work-dir',
        tmp_path,
        '--no-validate',
        '--no-pin-memory',
        '--no-persistent-workers',
        '--cfg-options',
        'train_cfg.val_interval=1',
        'train_cfg.max_epochs=1',
        cwd=tmp_path,
    )
    assert code == 0, output
    assert 'Epoch(train)' in output and 'Epoch(val)' not in output


def test_default_work_dir_and_workers(cls_config, tmp_path):
    """Workers are persistent with mmpretrain; without workers torch would refuse that, and the tool leaves it out."""
    code, output = run_tool(
        'train.py',
        cls_config,
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_dataloader.num_workers=1',
        cwd=tmp_path,
    )
    assert code == 0, output
    dumped = (tmp_path / 'work_dirs' / 'tiny_cls' / 'tiny_cls.py').read_text()
    train_loader = dumped[dumped.index('train_dataloader') : dumped.index('val_cfg')]
    val_loader = dumped[dumped.index('val_dataloader') : dumped.index('val_evaluator')]
    assert 'persistent_workers=True' in train_loader and 'persistent_workers=False' in val_loader


def test_auto_scale_lr(cls_config, det_config, tmp_path):
    """The learning rate is for base_batch_size; the batch is 6 (mmdet's config: 2)."""
    for config, base, rate in ((cls_config, 3, 0.02), (det_config, 4, 0.0005)):
        code, output = run_tool(
            'train.py',
            config,
            '--work-dir',
            tmp_path / config.stem,
            '--auto-scale-lr',
            '--cfg-options',
            f'auto_scale_lr.base_batch_size={base}',
            'auto_scale_lr.enable=False',
            'train_cfg.max_epochs=1',
            cwd=tmp_path,
        )
        assert code == 0, output
        assert _rates(output) == {rate}


def test_global_batch_size_of_one_process(cls_config, tmp_path):
    code, output = run_tool(
        'train.py',
        cls_config,
        '--work-dir',
        tmp_path,
        '--no-validate',
        '--cfg-options',
        'global_batch_size=9',
        'train_cfg.max_epochs=1',
        cwd=tmp_path,
    )
    assert code == 0, output
    assert 'global_batch_size=9: 1 process(es) with train_dataloader.batch_size=9' in output
    assert 'Epoch(train) [1][2/2]' in output


def test_option_of_the_other_host_is_refused(det_config, tmp_path):
    code, output = run_tool('train.py', det_config, '--no-validate', cwd=tmp_path)
    assert code == 1
    assert re.search(
        r"error: --no-validate is no option of mmdet's train tool.*mmpretrain.*default_scope='mmdet'", output
    )
    assert not (tmp_path / 'work_dirs').exists()


def test_kill_and_resume(cls_config, tmp_path):
    """Killed with SIGKILL in mid-training and resumed, the weights are those of a run that nobody killed."""
    killed, whole = tmp_path / 'killed', tmp_path / 'whole'
    tool = Tool(
        'train.py',
        [
            cls_config,
            '--work-dir',
            killed,
            '--no-validate',
            '--cfg-options',
            'train_cfg.max_epochs=10000',
            'default_hooks.checkpoint.max_keep_ckpts=2',
        ],
        tmp_path,
    )
    deadline = time.time() + 120
    while not (killed / 'epoch_3.pth').exists() and time.time() < deadline and tool.process.is_alive():
        time.sleep(0.02)
    os.kill(tool.process.pid, signal.SIGKILL)
    code, output = tool.wait()
    assert code == -signal.SIGKILL, output
    last = max(int(path.stem.split('_')[1]) for path in killed.glob('epoch_*.pth'))
    options = ('--no-validate', '--cfg-options', f'train_cfg.max_epochs={last + 2}')
    code, output = run_tool('train.py', cls_config, '--work-dir', killed, '--resume', *options, cwd=tmp_path)
    assert code == 0, output
    done = int(re.search(rf'--resume: .*continuing from {killed}/epoch_(\d+)\.pth', output).group(1))
    assert last - 1 <= done <= last
    assert f'Epoch(train) [{done + 1}][1/3]' in output and f'Epoch(train) [{done}]' not in output
    code, output = run_tool('train.py', cls_config, '--work-dir', whole, *options, cwd=tmp_path)
    assert code == 0, output
    expected = _weights(whole / f'epoch_{last + 2}.pth')
    got = _weights(killed / f'epoch_{last + 2}.pth')
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        assert torch.equal(value, got[key]), key


def test_resume_after_a_kill_while_the_pointer_was_written(cls_config, cls_run, tmp_path):
    """mmengine writes last_checkpoint after the checkpoint; killed between, the file is empty, the newest whole."""
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        shutil.copy2(cls_run[0] / name, tmp_path / name)
    os.utime(tmp_path / 'epoch_1.pth', (1, 1))
    (tmp_path / 'last_checkpoint').touch()
    code, output = run_tool(
        'train.py',
        cls_config,
        '--work-dir',
        tmp_path,
        '--resume',
        '--no-validate',
        '--cfg-options',
        'train_cfg.max_epochs=3',
        cwd=tmp_path,
    )
    assert code == 0, output
    assert f'--resume: last_checkpoint is empty; continuing from {tmp_path}/epoch_2.pth' in output
    assert 'Epoch(train) [3][1/3]' in output


def test_resume_from_a_path(cls_config, cls_run, tmp_path):
    code, output = run_tool(
        'train.py', cls_config, '--work-dir', tmp_path, '--resume', cls_run[0] / 'epoch_1.pth', cwd=tmp_path
    )
    assert code == 0, output
    assert 'Epoch(train) [2][1/3]' in output and 'Epoch(train) [1]' not in output
    expected, got = _weights(cls_run[0] / 'epoch_2.pth'), _weights(tmp_path / 'epoch_2.pth')
    assert all(torch.equal(value, got[key]) for key, value in expected.items())


def test_first_start_with_resume_keeps_load_from(cls_config, cls_run, tmp_path):
    """Nothing to resume: the weights named by the config are still loaded."""
    code, output = run_tool(
        'train.py',
        cls_config,
        '--work-dir',
        tmp_path,
        '--resume',
        '--no-validate',
        '--cfg-options',
        'train_cfg.max_epochs=1',
        f'load_from={cls_run[0] / "epoch_2.pth"}',
        cwd=tmp_path,
    )
    assert code == 0, output
    assert 'training starts from the beginning' in output
    assert re.search(r'Load checkpoint from .*epoch_2\.pth', output)
    assert 'Epoch(train) [1][1/3]' in output


def test_checkpoint_of_another_architecture(cls_config, cls_run, tmp_path):
    code, output = run_tool(
        'train.py',
        cls_config,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        f'load_from={cls_run[0] / "epoch_2.pth"}',
        'model.backbone.depth=50',
        'model.head.in_channels=256',
        cwd=tmp_path,
    )
    assert code == 1
    assert re.search(r'RuntimeError: load_from fills \d+ of \d+ tensors of the backbone.*another architecture', output)
    assert 'epoch_2.pth' in output and 'tiny_cls.py' in output and 'Epoch(train)' not in output


@pytest.mark.parametrize('suffix', ['.json', '.py'])
def test_print_config(cls_config, tmp_path, suffix):
    from mmengine.config import Config

    path = tmp_path / f'saved{suffix}'
    code, output = run_tool(
        'print_config.py', cls_config, '--cfg-options', 'train_cfg.max_epochs=7', '--save-path', path, cwd=tmp_path
    )
    assert code == 0, output
    assert 'max_epochs=7' in output and "type='LinearClsHead'" in output
    assert Config.fromfile(path).train_cfg.max_epochs == 7


def test_print_config_refusals(cls_config, tmp_path):
    code, output = run_tool('print_config.py', 'nowhere.py', cwd=tmp_path)
    assert code == 2 and "the config file 'nowhere.py' does not exist" in output
    code, output = run_tool('print_config.py', cls_config, '--save-path', 'x.txt', cwd=tmp_path)
    assert code == 2 and "--save-path 'x.txt' must end in" in output
