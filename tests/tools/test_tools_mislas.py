"""MiSLAS, both stages in one run, on Digits-LT through tools/train.py."""
import pytest
import torch
from tool_process import ROOT, run_tool

MISLAS = """
_base_ = {base!r}
train_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict(max_epochs=3, val_interval=3)
model = dict(
    data_preprocessor=dict(num_classes=10),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.2)),
    head=dict(
        predictor=dict(type='LearnableWeightScaling'),
        loss=dict(_delete_=True, type='LabelAwareSmoothingLoss', active=False)))
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1), stage=dict(type='StageHook', stages=[
    dict(begin=0, freeze=[r'^head\\.fc\\.scales$'], needs_checkpoint=False),
    dict(begin=2, freeze=[r'^backbone\\.'], norm='shifted',
         sampler=dict(type='ClassBalancedSampler', num_samples_per_class=4),
         set={{'model.head.loss_module.active': True, 'model.data_preprocessor.batch_augments': None,
              'model.data_preprocessor.to_onehot': False}})]))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={{'head.fc.scales': dict(lr_mult=20)}}))
param_scheduler = [dict(
    type='CosineRestartLR', periods=[2, 1], restart_weights=[1, 0.05], eta_min=0, by_epoch=True,
    convert_to_iter_based=True)]
"""


def test_mislas(tmp_path):
    pytest.importorskip('mmpretrain', reason='the config needs mmpretrain')
    pytest.importorskip('sklearn', reason='Digits-LT comes with scikit-learn')
    config = tmp_path / 'mislas.py'
    config.write_text(MISLAS.format(base=str(ROOT / 'configs/demo/resnet8_bn_ce_digits_lt.py')))
    code, output = run_tool('train.py', config, '--work-dir', tmp_path / 'run', cwd=tmp_path)
    assert code == 0, output
    assert 'StageHook: stage 2 of 2 from epoch 2 on' in output and 'batch norm: shifted' in output
    assert 'shot/all_top1' in output
    first, last = (torch.load(tmp_path / 'run' / f'epoch_{epoch}.pth', weights_only=False)['state_dict']
                   for epoch in (2, 3))
    different = {key for key in last if not torch.equal(first[key], last[key])}
    learned = {key for key in different if 'running' not in key and 'tracked' not in key}
    assert learned == {'head.fc.weight', 'head.fc.bias', 'head.fc.scales'}
    assert different - learned, "shifted batch norm moves the statistics"
    assert (first['head.fc.scales'] == 1).all()
    # the rate of the classifier is a twentieth of that of the scales
    assert (last['head.fc.scales'] - 1).abs().mean() > (last['head.fc.weight'] - first['head.fc.weight']).abs().mean()
