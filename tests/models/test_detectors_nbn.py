"""NBN in the pretrained, partly frozen backbone of mmdet's detectors."""
import copy
import os
import socket

import pytest
import torch
from process_server import run_ranks

from nbn_mm.models.placement import fold
from nbn_mm.utils.hosts import host_error

if host_error('mmdet') is not None:
    pytest.skip('mmdet does not import', allow_module_level=True)

import detectors  # noqa: E402

STARTS = [dict(init_magnitude='pretrained'), dict(init_magnitude=1.0), dict(init_magnitude=3.0)]
LAST_STAGE = ['layer4.0.bn2', 'layer4.0.downsample.1', 'layer4.1.bn2']  # of a ResNet-18


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    return detectors.write_pretrained(tmp_path_factory.mktemp('pretrained') / 'r18.pth')


def mask_rcnn(pretrained, nbn=None, **kwargs):
    torch.manual_seed(1)
    model = detectors.build(detectors.detector(nbn, pretrained, **kwargs))
    torch.manual_seed(1)
    model.init_weights()
    return model.train()


def gradients(model):
    """The losses of a training step on two pictures, and the gradient of each parameter."""
    torch.manual_seed(2)
    total, values = model.parse_losses(model(**detectors.batch(model), mode='loss'))
    model.zero_grad()
    total.backward()
    return values, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize('name', detectors.BACKBONES)
def test_first_network_is_the_pretrained_one(name, tmp_path):
    path = detectors.write_pretrained(tmp_path / 'backbone.pth', name)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    outputs = {}
    for start in (None, 'pretrained', 1.0):
        network = detectors.build(
            detectors.backbone(name, None if start is None else dict(init_magnitude=start), path, with_cp=True))
        network.init_weights()
        network.train()  # gives back None
        outputs[start] = network(image)
    for level, (bn, gains, scalar) in enumerate(zip(*outputs.values(), strict=True)):
        torch.testing.assert_close(gains, bn, rtol=1e-4, atol=1e-5)
        assert torch.equal(scalar, bn) == (level < 3), 'a scalar start changes the last stage'


@pytest.mark.parametrize('nbn', STARTS, ids=lambda nbn: str(nbn['init_magnitude']))
def test_gradients_are_those_of_the_formula(pretrained, nbn):
    """From the gradients of BN layers whose vectors are w̃ = g·w/‖w‖ (times a gain), by the chain rule."""
    model = mask_rcnn(pretrained, nbn)
    twin = mask_rcnn(pretrained)
    start = nbn['init_magnitude']
    lengths = {}
    for name in LAST_STAGE:
        layer = twin.backbone.get_submodule(name)
        for kind in ('weight', 'bias'):
            vector = getattr(layer, kind)
            lengths[name, kind] = vector.detach().norm()
            if start != 'pretrained':
                vector.data.mul_(start / lengths[name, kind])
    before = {name: value.clone() for name, value in model.state_dict().items() if 'running' in name}
    (losses, found), (expected_losses, plain) = gradients(model), gradients(twin)
    for name, value in expected_losses.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-5)
    magnitude = 0.
    for (name, kind), length in lengths.items():
        key = f'backbone.{name}.{kind}'
        vector = getattr(twin.backbone.get_submodule(name), kind).detach()
        unit, gradient = vector / vector.norm(), plain.pop(key)
        scale = 1. if start == 'pretrained' else start / length
        torch.testing.assert_close(found.pop(key), scale * (gradient - unit * (unit @ gradient)), rtol=1e-3, atol=1e-5)
        magnitude = magnitude + (vector if start == 'pretrained' else unit) @ gradient
    torch.testing.assert_close(found.pop('backbone.nbn.magnitude'), magnitude, rtol=1e-3, atol=1e-5)
    assert set(found) == set(plain)
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: name + text)
    assert not any(name.startswith(('backbone.conv1', 'backbone.bn1', 'backbone.layer1')) for name in found)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items()), 'norm_eval'


def test_magnitude_learns_behind_frozen_stages(pretrained):
    """frozen_stages=4 leaves the magnitude alone learnable in the backbone, with and without gradient checkpointing."""
    grads = []
    for with_cp in (False, True):
        model = mask_rcnn(pretrained, dict(init_magnitude='pretrained'), frozen_stages=4, with_cp=with_cp)
        assert [name for name, p in model.backbone.named_parameters() if p.requires_grad] == ['nbn.magnitude']
        grads.append(gradients(model)[1]['backbone.nbn.magnitude'])
    assert grads[0] != 0 and torch.equal(*grads)


def test_gradient_checkpointing(pretrained):
    plain, checkpointed = (mask_rcnn(pretrained, dict(), with_cp=with_cp) for with_cp in (False, True))
    calls = []
    layer = checkpointed.backbone.layer4[1].bn2
    layer.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    expected, found = gradients(plain)[1], gradients(checkpointed)[1]
    assert len(calls) == 2, 'the block runs again in the backward pass'
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    checkpointed.eval()
    calls.clear()
    checkpointed.backbone.nbn.accept_missing_magnitude()
    with torch.no_grad():
        checkpointed.backbone(torch.zeros(1, 3, 64, 64))
    assert len(calls) == 1
    copied = copy.deepcopy(checkpointed.backbone.layer4[1])
    assert copied.forward.block is copied
    blocks = [fold(checkpointed)[0].backbone.layer4[i] for i in range(2)]
    assert all(block.with_cp and 'forward' not in vars(block) for block in blocks), 'the host checkpoints again'


def _rank(rank, port, path):
    """A shared magnitude in checkpointed blocks under DistributedDataParallel, frozen stages included."""
    os.environ.update(RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    torch.distributed.init_process_group('gloo')
    networks = []
    for with_cp in (False, True):
        network = detectors.build(detectors.backbone('R18', dict(), path, with_cp=with_cp))
        network.init_weights()
        network.train()
        networks.append(torch.nn.parallel.DistributedDataParallel(network))
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(rank))
    for _ in range(2):  # the reducer checks the first pass at the start of the second
        for network in networks:
            network.zero_grad()
            network(image)[-1].square().mean().backward()
    plain, checkpointed = (network.module.nbn.magnitude.grad for network in networks)
    assert plain != 0
    torch.testing.assert_close(checkpointed, plain)
    torch.distributed.destroy_process_group()


def test_gradient_checkpointing_over_two_ranks(pretrained):
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        port = sock.getsockname()[1]
    run_ranks(_rank, port, str(pretrained))


def test_mixed_precision_on_the_cpu(pretrained):
    """Backbone and neck: mmcv's NMS on a CPU takes no bfloat16."""
    grads = []
    for enabled in (False, True):
        model = mask_rcnn(pretrained, dict(init_magnitude='pretrained'), with_cp=True)
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            levels = model.extract_feat(detectors.batch(model)['inputs'])
            layer = model.backbone.layer4[1].bn2
            assert layer.weight.dtype == layer.weight_gain.dtype == torch.float32
        assert all(level.dtype == (torch.bfloat16 if enabled else torch.float32) for level in levels)
        sum(level.float().square().mean() for level in levels).backward()
        grads.append({name: p.grad for name, p in model.backbone.named_parameters() if p.requires_grad})
    for name, exact in grads[0].items():
        assert grads[1][name].dtype == torch.float32
        assert (grads[1][name] - exact).norm() < 0.1 * exact.norm(), name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="mmengine's AmpOptimWrapper needs a GPU, and none is here")
def test_mixed_precision_on_a_gpu(pretrained, tmp_path):
    cfg = detectors.detector(dict(init_magnitude='pretrained'), pretrained, with_cp=True)
    made = detectors.runner(tmp_path, cfg, optim_wrapper=dict(
        type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=0.01)))
    made.train()
    assert made.model.backbone.nbn.magnitude != 1
    assert all(value.isfinite().all() for value in made.model.state_dict().values())
