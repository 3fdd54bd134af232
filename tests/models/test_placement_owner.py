"""The owner of shared magnitudes: keys, gradients, copies, loading and the guard against a missing magnitude."""
import copy
import pickle

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.runner.checkpoint import load_state_dict as mmengine_load
from torch import nn
from torch.func import functional_call

from nbn_mm.models.layers import NBN
from nbn_mm.models.placement import apply_nbn


class Block(nn.Module):

    def __init__(self):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x):
        return x + self.bn2(self.bn1(x).relu())


class Net(nn.Module):

    def __init__(self, **options):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(Block(), Block())
        if options.pop('placed', True):
            apply_nbn(self, **options)

    def forward(self, x):
        return self.layer1(self.bn1(x))


class Wrapped(nn.Module):

    def __init__(self, **options):
        super().__init__()
        self.backbone = Net(**options)
        self.head = nn.Linear(2, 2)


def torch_load(model, state, **_):
    return model.load_state_dict(state, strict=False)


LOADERS = [torch_load, mmengine_load]


def trained(**options):
    """A network whose vectors are no longer at their start."""
    torch.manual_seed(0)
    net = Net(**options)
    with torch.no_grad():
        for tensor in net.parameters():
            tensor.normal_(1.0)
    return net


X = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize('options, keys', [
    (dict(), {'nbn.magnitude'}),
    (dict(separate_bias_magnitude=True), {'nbn.magnitude', 'nbn.bias_magnitude'}),
    (dict(share='block'), {'nbn.magnitudes.layer1_0', 'nbn.magnitudes.layer1_1'}),
    (dict(share='none', placement='A', pattern='bn2'), {'nbn.magnitudes.layer1_0_bn2', 'nbn.magnitudes.layer1_1_bn2'}),
    (dict(share=r'layer1\.(?:\d)\.(bn2)'), {'nbn.magnitudes.bn2'}),
    (dict(share='block', separate_bias_magnitude=True, learn_magnitude=False),
     {f'nbn.{k}.layer1_{i}' for k in ('magnitudes', 'bias_magnitudes') for i in (0, 1)}),
    (dict(init_magnitude='pretrained'),
     {'nbn.magnitude'} | {f'layer1.{i}.bn2.{k}_gain' for k in ('weight', 'bias') for i in (0, 1)}),
])
def test_keys_and_round_trip(options, keys):
    net = trained(**options)
    assert set(net.state_dict()) - set(Net(placed=False).state_dict()) == keys
    assert len({id(p) for p in net.parameters()}) == len(list(net.parameters()))
    learnable = {n for n, p in net.named_parameters() if n.startswith('nbn')}
    assert learnable == (set() if options.get('learn_magnitude') is False else {k for k in keys if k.startswith('nbn')})
    net.eval()
    for load in LOADERS:
        other = Net(**options).eval()
        load(other, net.state_dict(), strict=True)
        with torch.no_grad():
            assert torch.equal(other(X), net(X))


def test_sharing_reaches_the_gradient():
    shared, single = trained(), trained(share='none')
    single.load_state_dict({k: v for k, v in shared.state_dict().items() if not k.startswith('nbn')}, strict=False)
    with torch.no_grad():
        for p in [*single.nbn.parameters(), *shared.nbn.parameters()]:
            p.fill_(0.8)
    for net in (shared, single):
        net(X).square().sum().backward()
    parts = [p.grad for p in single.nbn.parameters()]
    assert len(parts) == 2 and parts[0] != parts[1]
    torch.testing.assert_close(shared.nbn.magnitude.grad, sum(parts))


def test_copies_keep_the_tie():
    net = trained().eval()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), copy.deepcopy(net).double().float()):
        assert twin.layer1[0].bn2.owner is twin.nbn is not net.nbn
        before = net(X)
        assert torch.equal(twin(X), before)
        with torch.no_grad():
            twin.nbn.magnitude.mul_(2)
        assert not torch.equal(twin(X), before) and torch.equal(net(X), before)


def test_functional_call_and_compile():
    net = trained().train()
    half = {'nbn.magnitude': net.nbn.magnitude.detach() / 2}
    out = functional_call(net, half, (X, ))
    compiled = torch.compile(net, backend='eager', fullgraph=True)  # fullgraph: a graph break is an error
    torch.testing.assert_close(compiled(X), net(X))
    with torch.no_grad():
        net.nbn.magnitude.div_(2)
    torch.testing.assert_close(net(X), out)
    torch.testing.assert_close(compiled(X), out)
    compiled(X).sum().backward()
    assert net.nbn.magnitude.grad is not None
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(net, backend='eager', fullgraph=True)(X), net(X))


def test_moving_average_and_swap():
    net = trained()
    average = ExponentialMovingAverage(net, momentum=0.25)
    start = net.nbn.magnitude.item()
    average.update_parameters(net)
    with torch.no_grad():
        net.nbn.magnitude.add_(1)
    average.update_parameters(net)
    assert average.module.nbn.magnitude.item() == pytest.approx(start + 0.25)
    assert average.module.layer1[1].bn2.owner is average.module.nbn
    net.eval(), average.eval()
    with torch.no_grad():
        want, was = average.module(X), net(X)
        # What EMAHook does around validation.
        for ours, theirs in zip(net.parameters(), average.module.parameters(), strict=True):
            ours.data, theirs.data = theirs.data.clone(), ours.data.clone()
        torch.testing.assert_close(net(X), want)
        torch.testing.assert_close(average.module(X), was)


def bn_state(zero=(), prefix=''):
    state = trained(placed=False).state_dict()
    for name in zero:
        state[name] = torch.zeros_like(state[name])
    return {prefix + k: v for k, v in state.items()}


@pytest.mark.parametrize('load', LOADERS)
@pytest.mark.parametrize('share', ['all', 'block'])
def test_plain_checkpoint_leaves_only_the_magnitude_missing(load, share, caplog):
    model = Wrapped(share=share, init_magnitude='pretrained').eval()
    with torch.no_grad():
        for p in model.backbone.nbn.parameters():
            p.fill_(7)
    if load is torch_load:
        result = model.load_state_dict({**bn_state(prefix='backbone.'), 'head.weight': torch.ones(2, 2),
                                        'head.bias': torch.ones(2)}, strict=False)
        assert not result.unexpected_keys
        assert set(result.missing_keys) == {f'backbone.nbn.{k}' for k, _ in model.backbone.nbn.named_parameters()}
    else:
        load(model, bn_state(prefix='backbone.'))
    assert all(p == 1 for p in model.backbone.nbn.parameters())
    plain = Net(placed=False).eval()
    plain.load_state_dict(bn_state())
    with torch.no_grad():
        torch.testing.assert_close(model.backbone(X), plain(X), rtol=1e-6, atol=1e-6)  # and it is allowed to evaluate


def test_pretrained_start_is_exact_in_float64_and_its_magnitude_scales_it():
    for options in ({}, dict(zero_bias='smooth'), dict(zero_bias='random'), dict(separate_bias_magnitude=True)):
        state = bn_state(zero=['layer1.1.bn2.bias'])
        net, plain = Net(init_magnitude='pretrained', **options).double(), Net(placed=False).double()
        net.load_state_dict(state, strict=False), plain.load_state_dict(state)
        for layer, bn in ((net.layer1[i].bn2, plain.layer1[i].bn2) for i in (0, 1)):
            torch.testing.assert_close(layer.weight, bn.weight, rtol=1e-15, atol=0)
            torch.testing.assert_close(layer.bias, bn.bias, rtol=1e-15, atol=0)
        net(X.double()).sum().backward()  # a zero bias still learns
        assert net.layer1[1].bn2.bias_direction.grad.abs().sum() > 0
        with torch.no_grad():
            net.nbn.magnitude.mul_(2)
        torch.testing.assert_close(net.layer1[0].bn2.weight, 2 * plain.layer1[0].bn2.weight, rtol=1e-15, atol=0)


@pytest.mark.parametrize('load', LOADERS)
def test_zero_direction_after_loading_is_named(load):
    with pytest.raises(ValueError, match=r'^backbone.layer1.1.bn2: the weight is zero after loading'):
        load(Wrapped(), bn_state(zero=['layer1.1.bn2.weight'], prefix='backbone.'))
    load(Wrapped(normalize=False), bn_state(zero=['layer1.1.bn2.weight'], prefix='backbone.'))
    load(Wrapped(), bn_state(zero=['layer1.1.bn1.weight'], prefix='backbone.'))  # a plain BN may be zero


@pytest.mark.parametrize('load', LOADERS)
def test_missing_magnitude_refuses_evaluation(load):
    message = r'holds no NBN magnitude \(magnitude\).*initial magnitude 1.0.*pretrained.*`backbone.nbn`'

    def loaded(**options):
        model = Wrapped(**options)
        load(model, bn_state(prefix='backbone.'))
        return model

    for context in (torch.no_grad, torch.enable_grad):
        model = loaded().eval()
        with context(), pytest.raises(RuntimeError, match=message):
            model.backbone(X)
    copied = copy.deepcopy(model)
    with pytest.raises(RuntimeError, match=message):
        copied.backbone(X)
    model.train().backbone(X)
    model.eval().backbone(X)
    copied.backbone.nbn.accept_missing_magnitude()
    copied.backbone(X)
    model = loaded().train()  # norm_eval: the norms are in eval mode, the network trains
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()
    model.backbone(X)
    model.eval().backbone(X)
    loaded(normalize=False).eval().backbone(X)
    with pytest.raises(RuntimeError, match='initial magnitude 2.0'):
        loaded(normalize=False, init_magnitude=2.0).eval().backbone(X)
    model = loaded().eval()
    load(model, {f'backbone.{k}': v for k, v in trained().state_dict().items()})
    model.backbone(X)
    Wrapped().eval().backbone(X)  # nothing was loaded
    model = Wrapped().eval()
    load(model, {'head.weight': torch.ones(2, 2)})
    model.backbone(X)


@pytest.mark.parametrize('load', LOADERS)
def test_missing_magnitude_of_a_layer_with_its_own(load):
    model = nn.Sequential(NBN(4))
    load(model, {f'0.{k}': v for k, v in nn.BatchNorm2d(4).state_dict().items()})
    with torch.no_grad(), pytest.raises(RuntimeError, match='`0`'):
        model.eval()(X)
    model.train()(X)
    with torch.no_grad():
        model.eval()(X)


@pytest.mark.parametrize('load', LOADERS)
@pytest.mark.parametrize('saved, now, message', [
    (dict(share='block'), dict(), 'holds backbone.nbn.magnitudes.layer1_0, this network has magnitude: .*nbn.share'),
    (dict(), dict(share='block'), 'holds backbone.nbn.magnitude, this network has magnitudes.layer1_0'),
    (dict(separate_bias_magnitude=True), dict(), 'backbone.nbn.bias_magnitude.*nbn.separate_bias_magnitude'),
    (dict(init_magnitude='pretrained'), dict(),
     "backbone.layer1.0.bn2: the checkpoint holds 'weight_gain'.*'pretrained'"),
    (dict(), dict(init_magnitude='pretrained'), "backbone.layer1.0.bn2: .*but no 'backbone.layer1.0.bn2.weight_gain'"),
])
def test_checkpoints_of_other_options_are_refused(load, saved, now, message):
    with pytest.raises(ValueError, match=message):
        load(Wrapped(**now), {f'backbone.{k}': v for k, v in trained(**saved).state_dict().items()})


@pytest.mark.parametrize('load', LOADERS)
def test_random_bias_after_loading(load):
    state = bn_state(zero=['layer1.0.bn2.bias'], prefix='backbone.')
    first, second = Wrapped(zero_bias='random'), Wrapped(zero_bias='random')
    load(first, state)
    torch.manual_seed(99)
    load(second, state)  # the ranks of a distributed run draw the same
    bias = first.backbone.layer1[0].bn2.bias_direction
    torch.testing.assert_close(bias.norm(), torch.tensor(1.0))
    assert torch.equal(bias, second.backbone.layer1[0].bn2.bias_direction)
    assert torch.equal(first.backbone.layer1[1].bn2.bias_direction, state['backbone.layer1.1.bn2.bias'])
    kept = Wrapped(zero_bias='random')
    load(kept, {**state, 'backbone.nbn.magnitude': torch.tensor(2.0)})  # an NBN checkpoint is taken as it is
    assert not kept.backbone.layer1[0].bn2.bias_direction.any()
