"""The converters of torch and the hosts, called on networks with CompoundBN: each gives the right network or raises."""
import pytest
import torch
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval
from mmengine.registry import MODELS
from torch import nn

from nbn_mm.models.layers import CompoundBN

mmcv_cnn = pytest.importorskip('mmcv.cnn', reason='mmcv is not installed')
NETWORKS = dict(placed=dict(type='CompoundBNBackbone', base='CIFARResNet', compound=dict(placement='C', split=False)),
                split=dict(type='CompoundBNBackbone', base='CIFARResNet'),
                own=dict(type='CIFARResNet', norm_cfg=dict(type='CompoundBN', num_components=2, nbn=dict())))


@pytest.fixture
def one_process_group(tmp_path):
    """mmcv's SyncBatchNorm asks for the process group when it is made."""
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def network(kind):
    torch.manual_seed(0)
    return MODELS.build(dict(NETWORKS[kind], depth=8)).eval()


def outputs(model):
    with torch.no_grad():
        return model(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)))[-1]


@pytest.mark.parametrize('kind', NETWORKS)
@pytest.mark.parametrize('convert', [
    nn.SyncBatchNorm.convert_sync_batchnorm,
    convert_sync_batchnorm,
    lambda model: convert_sync_batchnorm(model, implementation='mmcv')], ids=['torch', 'mmengine', 'mmengine-mmcv'])
def test_conversion_to_sync_bn_is_refused(kind, convert, one_process_group):
    """It would take the vectors of K components for those of one."""
    with pytest.raises((TypeError, AttributeError, RuntimeError), match='weight'):
        convert(network(kind))


@pytest.mark.parametrize('kind', NETWORKS)
def test_revert_sync_batchnorm_leaves_it_alone(kind):
    model = network(kind)
    expected, count = outputs(model), sum(isinstance(m, CompoundBN) for m in model.modules())
    reverted = revert_sync_batchnorm(model).eval()
    assert sum(isinstance(m, CompoundBN) for m in reverted.modules()) == count > 0
    assert torch.equal(outputs(reverted), expected)


@pytest.mark.parametrize('kind', NETWORKS)
def test_fusing_into_convolutions_is_refused(kind):
    with pytest.raises(RuntimeError, match='shape'):
        mmcv_cnn.fuse_conv_bn(network(kind))


@pytest.mark.parametrize('mode', [True, False])
@pytest.mark.parametrize('kind', NETWORKS)
def test_efficient_conv_bn_eval_is_refused_or_right(kind, mode):
    model = nn.ModuleDict(dict(backbone=network(kind)))
    expected = outputs(model['backbone'])
    model.train(mode)
    try:
        turn_on_efficient_conv_bn_eval(model, 'backbone')
    except Exception:  # what cannot be traced
        return
    assert torch.equal(outputs(model.eval()['backbone']), expected)
