"""The converters of torch and the hosts, called on networks with NBN: each gives the right network or raises."""
import pytest
import torch
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from nbn_mm.models.layers import NBN, AllReduceBN

mmcv_cnn = pytest.importorskip('mmcv.cnn', reason='mmcv is not installed')


@pytest.fixture
def one_process_group(tmp_path):
    """mmcv's SyncBatchNorm asks for the process group when it is made."""
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def network(nbn=None, norm_cfg=None, **kwargs):
    torch.manual_seed(0)
    if nbn is not None:
        model = MODELS.build(dict(type='NBNBackbone', base='CIFARResNet', depth=8, nbn=nbn, **kwargs))
    else:
        model = MODELS.build(dict(type='CIFARResNet', depth=8, norm_cfg=norm_cfg, **kwargs))
    model.init_weights()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith('running_var') or name.endswith('magnitude'):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and tensor.dim() == 1:
                tensor.add_(0.3 * torch.randn_like(tensor))
    return model.eval()


def outputs(model):
    with torch.no_grad():
        return model(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)))[-1]


NETWORKS = dict(
    placed=dict(nbn=dict(placement='C')), own=dict(norm_cfg=dict(type='NBN')), synced=dict(nbn=dict(sync=True)))


@pytest.mark.parametrize('kind', NETWORKS)
@pytest.mark.parametrize('convert', [
    nn.SyncBatchNorm.convert_sync_batchnorm,
    convert_sync_batchnorm,
    lambda model: convert_sync_batchnorm(model, implementation='mmcv')], ids=['torch', 'mmengine', 'mmengine-mmcv'])
def test_conversion_to_sync_bn_is_refused(kind, convert, one_process_group):
    """It would take the directions, or the effective vectors of one moment, for weights."""
    with pytest.raises((TypeError, AttributeError, RuntimeError), match='weight'):
        convert(network(**NETWORKS[kind]))


def test_conversion_of_all_reduce_bn_is_right():
    model = network(norm_cfg=dict(type='AllReduceBN'))
    assert any(isinstance(m, AllReduceBN) for m in model.modules())
    expected = outputs(model)
    for convert in (nn.SyncBatchNorm.convert_sync_batchnorm, convert_sync_batchnorm):
        converted = convert(network(norm_cfg=dict(type='AllReduceBN'))).eval()
        assert any(isinstance(m, nn.SyncBatchNorm) for m in converted.modules())
        assert torch.equal(outputs(converted), expected)


@pytest.mark.parametrize('kind', NETWORKS)
def test_revert_sync_batchnorm_leaves_nbn_alone(kind):
    model = network(**NETWORKS[kind])
    expected = outputs(model)
    norms = [type(m) for m in model.modules() if isinstance(m, (NBN, AllReduceBN))]
    reverted = revert_sync_batchnorm(model).eval()
    assert [type(m) for m in reverted.modules() if isinstance(m, (NBN, AllReduceBN))] == norms
    assert torch.equal(outputs(reverted), expected)


@pytest.mark.parametrize('kind', NETWORKS)
def test_fuse_conv_bn_takes_the_effective_vectors(kind):
    model = network(**NETWORKS[kind])
    expected = outputs(model)
    fused = mmcv_cnn.fuse_conv_bn(model)
    assert not [m for m in fused.modules() if isinstance(m, NBN)], 'nothing was fused'
    assert torch.allclose(outputs(fused), expected, rtol=1e-4, atol=1e-5)


def test_efficient_conv_bn_eval_is_refused_where_it_meets_nbn():
    """Traced in training mode it would keep the mode of the moment."""
    for kind, mode in [(k, m) for k in NETWORKS for m in (True, False)]:
        model = nn.ModuleDict(dict(backbone=network(**NETWORKS[kind]).train(mode)))
        with pytest.raises(Exception, match='control flow|nbn_mm|NBN'):
            turn_on_efficient_conv_bn_eval(model, 'backbone')


def test_host_runner_functions_on_a_whole_classifier():
    """revert_sync_batchnorm as each non-distributed Runner and inferencer calls it, on a host backbone."""
    pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(type='NBNBackbone', base='ResNet', depth=18))
    model.eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)[0]
        assert torch.equal(revert_sync_batchnorm(model)(x)[0], expected)
        assert torch.allclose(mmcv_cnn.fuse_conv_bn(model)(x)[0], expected, rtol=1e-4, atol=1e-5)
