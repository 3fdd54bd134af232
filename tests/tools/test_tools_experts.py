"""RIDE through tools/train.py, and get_flops.py."""
import json

import pytest
import torch
from mmengine.config import Config
from tool_process import ROOT, run_tool

from nbn_mm.engine.complexity import count_complexity, parse_usage
from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='mmpretrain does not import')
RIDE = """
_base_ = {base!r}
resize = [dict(type='Resize', scale=12, interpolation='bilinear'), dict(type='PackInputs')]
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=resize))
val_dataloader = dict(dataset=dict(pipeline=resize))
model = dict(
    backbone=dict(_delete_=True, type='NBNBackbone', base='MultiExpertBackbone', network='CIFARResNet', depth=8,
                  num_experts=2, nbn=dict(placement='A', share=r'experts\\.(\\d+)\\.')),
    head=dict(type='MultiExpertClsHead', num_experts=2, predictor=dict(type='RectifiedPredictor', base='Linear'),
              loss=dict(_delete_=True, type='RIDELoss', base=dict(type='BalancedSoftmaxLoss'))))
val_evaluator = [dict(type='ShotGroupMetric', topk=(1, )), dict(type='ExpertAccuracyMetric')]
train_cfg = dict(max_epochs=1, val_interval=1)
"""


def test_train(tmp_path):
    pytest.importorskip('sklearn', reason='Digits-LT comes with scikit-learn')
    path = tmp_path / 'ride.py'
    path.write_text(RIDE.format(base=str(ROOT / 'configs/demo/resnet8_bn_ce_digits_lt.py')))
    code, output = run_tool('train.py', path, '--work-dir', tmp_path / 'run', cwd=tmp_path)
    assert code == 0, output
    assert '2 magnitude group(s)' in output and 'expert/1_few_top1' in output and 'shot/few_top1' in output
    state = torch.load(tmp_path / 'run/epoch_1.pth', map_location='cpu', weights_only=False)['state_dict']
    assert {'backbone.nbn.magnitudes.0', 'backbone.nbn.magnitudes.1', 'head.experts.1.fc.weight'} <= set(state)


def convolutions(channels, size, blocks):
    """Multiplications of stages of 3 x 3 convolutions: (in, out) of the first block, then out to out."""
    total = 0
    for (entry, out), pixels in zip(channels, size, strict=True):
        total += 9 * pixels**2 * (entry * out + out * out * (2 * blocks - 1))
    return total


def test_resnet32_by_hand():
    """ResNet-32 with three experts on CIFAR: stem and first stage once, the others three times."""
    found = count_complexity(Config.fromfile(ROOT / 'configs/cifar/resnet32_bn_ride3_13k_cifar10_lt.py'), 32)
    shared = 9 * 32**2 * 3 * 16 + convolutions([(16, 16)], [32], 5)
    expert = convolutions([(16, 32), (32, 64)], [16, 8], 5) + 64 * 10
    assert (found.shared, found.experts) == (shared, [expert] * 3)
    assert found.total == shared + 3 * expert == found.by_number[-1]
    plain = count_complexity(Config.fromfile(ROOT / 'configs/cifar/resnet32_bn_ce_cifar10_lt.py'), 32)
    assert plain.total == found.by_number[0] and plain.parameters == 464154 and plain.experts is None
    assert found.parameters > plain.parameters and 'expert 2' in str(found)


def test_usage_weighs_the_experts():
    cfg = Config.fromfile(ROOT / 'configs/cifar/resnet32_bn_ride3_13k_cifar10_lt.py')
    found = count_complexity(cfg, 32, asked=[100, 40, 10])
    assert found.used == pytest.approx([0.6, 0.3, 0.1])
    assert found.routed == pytest.approx(found.shared + 1.5 * found.experts[0])
    assert found.to_dict()['routed'] == found.routed and '1.500 experts an image' in str(found)
    for wrong in ([100, 40], [90, 40, 10], [100, 10, 40], [100, 10, -1]):
        with pytest.raises(ValueError, match='must be 3, one an expert'):
            parse_usage(wrong, 3)


def test_tool(capsys, monkeypatch):
    import runpy
    script = ROOT / 'tools/analysis_tools/get_flops.py'
    leaf = str(ROOT / 'configs/cifar/resnet32_bn_ride3_13k_cifar10_lt.py')
    monkeypatch.setattr('sys.argv', ['get_flops.py', leaf, '--shape', '32', '--asked', '100', '50', '0', '--json'])
    runpy.run_path(str(script), run_name='__main__')
    printed = capsys.readouterr().out
    found = json.loads(printed[printed.index('{'):])
    assert found['used'] == [0.5, 0.5, 0.0] and len(found['experts']) == 3
    plain = str(ROOT / 'configs/cifar/resnet32_bn_ce_cifar10_lt.py')
    monkeypatch.setattr('sys.argv', ['get_flops.py', plain, '--shape', '32', '--asked', '100'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(script), run_name='__main__')
    assert 'has no experts' in capsys.readouterr().err
