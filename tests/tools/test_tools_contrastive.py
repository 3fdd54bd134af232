"""tools/train.py with BCL on Digits-LT: three views in training, one in validation."""
from pathlib import Path

import pytest
from tool_process import run_tool

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
_base_ = '{root}/configs/demo/resnet8_nbn_lr_ce_digits_lt.py'
view = [dict(type='Resize', scale=16, interpolation='bilinear'), dict(type='RandomCrop', crop_size=16, padding=2)]
train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='MultiView', num_views=[1, 2], transforms=[view, view]), dict(type='PackInputs')]))
model = dict(
    data_preprocessor=dict(type='MultiViewClsDataPreprocessor'),
    head=dict(type='BalancedContrastiveHead', out_channels=32, loss=dict(type='LogitAdjustmentLoss')))
train_cfg = dict(max_epochs=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
"""


def test_bcl_trains_and_validates(tmp_path):
    pytest.importorskip('mmpretrain')
    config = tmp_path / 'resnet8_nbn_lr_bcl_digits_lt.py'
    config.write_text(CONFIG.format(root=ROOT))
    code, output = run_tool('train.py', config, '--work-dir', tmp_path / 'run', cwd=tmp_path)
    assert code == 0, output
    assert 'loss_cls' in output and 'loss_contrast' in output and 'shot/few_top1' in output
