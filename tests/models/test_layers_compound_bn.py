"""CompoundBN against an independent derivation, against batch norm, and on planted mixtures."""
import copy

import numpy as np
import pytest
import torch
from references import compound_bn as reference
from torch import nn

from nbn_mm.models.layers import CompoundBN
from nbn_mm.models.layers.mixture_statistics import log_densities, responsibilities

SHAPES = [(6, 4), (3, 4, 5), (4, 4, 3, 2)]


def layer_of(num_components=3, channels=4, dtype=torch.float64, moved=True, **options):
    """A layer in the middle of training: random vectors, statistics and mixing weights."""
    layer = CompoundBN(channels, num_components=num_components, **options).to(dtype)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
            if not moved or not tensor.is_floating_point():
                continue
            noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
            tensor.copy_({'running_var': 0.5 + noise, 'mixing': 0.2 + noise}.get(name, 2 * noise - 1))
        layer.mixing.div_(layer.mixing.sum(-1, keepdim=True))
    layer.num_batches_tracked.fill_(7)
    return layer


def batch(shape, dtype=torch.float64, seed=1, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) + shift).to(dtype)


def arrays(layer):
    return {name: tensor.detach().double().numpy().copy()
            for name, tensor in [*layer.named_parameters(), *layer.named_buffers()]}


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('options', [{}, dict(tempering=0), dict(group_size=2), dict(group_size=1, tempering=0.5),
                                     dict(damping=0), dict(damping=1.0)], ids=str)
def test_training_equals_the_derivation(shape, options):
    layer, x, upstream = layer_of(**options), batch(shape), batch(shape, seed=2)
    before, eps = arrays(layer), layer.eps
    size = options.get('group_size', 4)
    r = reference.e_step(x, before['running_mean'], before['running_var'], before['mixing'], eps,
                         options.get('tempering', 0.4), size)
    inputs = x.clone().requires_grad_()
    y = layer(inputs)
    y.backward(upstream)
    up = upstream.numpy()
    count, mean, var = reference.m_step(x, r)
    assert count.min() >= 0 and (count >= 2).any()
    enough = count >= 2
    fed = [np.where(enough, new, before[old]) for new, old in ((mean, 'running_mean'), (var, 'running_var'))]
    expected = reference.output(x, r, *fed, before['weight'], before['bias'], eps)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-9, atol=1e-9)

    def function(array, weight=before['weight'], bias=before['bias']):
        _, m, v = reference.m_step(array, r)
        return reference.output(array, r, np.where(enough, m, before['running_mean']),
                                np.where(enough, v, before['running_var']), weight, bias, eps)

    close = dict(rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(inputs.grad.numpy(), reference.numeric_gradient(function, x.numpy(), up), **close)
    for name in ('weight', 'bias'):
        slow = reference.numeric_gradient(lambda a, n=name: function(x.numpy(), **{n: a}), before[name], up)
        np.testing.assert_allclose(layer._parameters[name].grad.numpy(), slow, **close)

    share = count / len(r) * layer.num_components
    damping = options.get('damping', 0.5)
    rate = 0.1 * enough * (np.minimum(1, share / damping) if damping else 1)
    unbiased = var * count / np.maximum(count - 1, 1)
    after = arrays(layer)
    np.testing.assert_allclose(after['running_mean'], reference.moved(before['running_mean'], mean, rate), rtol=1e-9)
    np.testing.assert_allclose(after['running_var'], reference.moved(before['running_var'], unbiased, rate), rtol=1e-9)
    np.testing.assert_allclose(after['mixing'], reference.moved(before['mixing'], (count / len(r)).T[::size], 0.1),
                               rtol=1e-9)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('options', [{}, dict(group_size=2, tempering=0)], ids=str)
def test_evaluation_equals_the_derivation(shape, options):
    """By the moving statistics alone, image by image."""
    layer, x = layer_of(**options).eval(), batch(shape)
    s = arrays(layer)
    r = reference.e_step(x, s['running_mean'], s['running_var'], s['mixing'], layer.eps, options.get('tempering', 0.4),
                         options.get('group_size', 4))
    expected = reference.output(x, r, s['running_mean'], s['running_var'], s['weight'], s['bias'], layer.eps)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.cat([layer(image) for image in x.split(1)]), layer(x))
    for name, value in arrays(layer).items():
        np.testing.assert_array_equal(value, s[name])


def run(layer, x, upstream, steps=3):
    """Some training steps without optimiser, then an evaluation."""
    for _ in range(steps - 1):
        layer(x * 1.1 + 0.2)
    inputs = x.clone().requires_grad_()
    y = layer(inputs)
    y.backward(upstream)
    weight, bias = (layer._parameters[name] for name in ('weight', 'bias'))
    return dict(y=y.detach(), x=inputs.grad, weight=weight.grad.reshape(-1, x.size(1)).sum(0),
                bias=bias.grad.reshape(-1, x.size(1)).sum(0), mean=layer.running_mean.reshape(-1, x.size(1)).mean(0),
                var=layer.running_var.reshape(-1, x.size(1)).mean(0), seen=layer.num_batches_tracked,
                test=layer.eval()(x).detach())


def batch_norm_like(layer, x):
    plain = nn.BatchNorm1d(4, momentum=layer.momentum) if x.dim() < 4 else nn.BatchNorm2d(4, momentum=layer.momentum)
    plain.to(x.dtype)
    for name in ('weight', 'bias'):
        getattr(plain, name).data.copy_(layer._parameters[name][0])
    return plain


@pytest.mark.parametrize('dtype, close', [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('momentum', [0.1, None])
def test_one_component_equals_batch_norm(shape, dtype, close, momentum):
    """From the very start, with a mean far from 0: output, gradients, moving statistics and evaluation."""
    layer = CompoundBN(4, num_components=1, momentum=momentum).to(dtype)
    for name in ('weight', 'bias'):
        layer._parameters[name].data.copy_(batch((1, 4), seed=3))
    plain, x = batch_norm_like(layer, batch(shape, dtype)), batch(shape, dtype, shift=9.0)
    ours, theirs = (run(module, x, batch(shape, dtype, seed=2)) for module in (layer, plain))
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=close, atol=close, msg=key)


@pytest.mark.parametrize('shape', [(9, 4), *SHAPES[1:]])  # each component gets more than 2 positions
@pytest.mark.parametrize('options', [{}, dict(group_size=2)], ids=str)
def test_identical_components_equal_batch_norm(shape, options):
    layer = layer_of(moved=False, **options)
    layer.running_mean.zero_()
    for name in ('weight', 'bias'):
        layer._parameters[name].data.copy_(batch((1, 4), seed=3).expand(3, 4))
    x = batch(shape, shift=2.0)
    plain = batch_norm_like(layer, x)
    plain.num_batches_tracked.fill_(7)
    ours, theirs = (run(module, x, batch(shape, seed=2)) for module in (layer, plain))
    # a component has a third of the count, in N / (N - 1) as well
    factor = (x.numel() / 4 / 3) / (x.numel() / 4 / 3 - 1) / ((x.numel() / 4) / (x.numel() / 4 - 1))
    decay = 0.9**3
    theirs['var'] = decay + (theirs['var'] - decay) * factor
    for key, value in theirs.items():
        if key != 'test':
            torch.testing.assert_close(ours[key], value, rtol=1e-10, atol=1e-10, msg=key)
    plain.running_var.copy_(ours['var'])
    torch.testing.assert_close(ours['test'], plain(x).detach(), rtol=1e-10, atol=1e-10)


def test_responsibilities_sum_to_one_without_overflow():
    x = batch((2, 1, 6, 5), torch.float32, shift=3.0) * 1e3
    mean, var = batch((1, 3, 6), torch.float32), torch.full((1, 3, 6), 1e-3)
    logs = log_densities(x, x.square(), mean, var)
    r, entropy = responsibilities(logs, torch.full((1, 3), 1 / 3))
    assert logs.abs().max() > 1e9
    torch.testing.assert_close(r.sum(2), torch.ones(2, 1, 5))
    assert torch.isfinite(r).all() and 0 <= entropy < 1e-3


def test_entropy_of_uncertain_and_certain_components():
    layer, x = layer_of(moved=False), batch((8, 4, 3, 3))
    layer.running_mean.zero_()
    layer(x)
    assert layer.entropy == pytest.approx(np.log(3)) and not layer.entropy.requires_grad
    layer.running_mean.copy_(torch.tensor([[9.0], [0.0], [-9.0]]).expand(3, 4))
    layer(x)
    assert layer.entropy < 0.05


@pytest.mark.parametrize('channels', [16, 64, 256])
def test_tempering_keeps_components_uncertain_as_channels_grow(channels):
    """Two modes 0.3 deviations apart in each channel: one-hot over 256 channels, if the density is taken as it is."""
    found = {}
    for tempering in (0.0, 0.5):
        layer = layer_of(2, channels, moved=False, tempering=tempering)
        layer.running_mean.copy_(torch.tensor([[-0.15], [0.15]]).expand(2, channels))
        x = batch((64, channels, 1)) + 0.15 * torch.tensor([-1.0, 1.0]).repeat(32)[:, None, None]
        layer(x)
        found[tempering] = float(layer.entropy) / np.log(2)
    assert 0.5 < found[0.5] < 0.99
    if channels == 256:
        assert found[0.0] < 0.05


def test_permuted_components_permute_the_state_and_leave_the_output():
    layer, x, order = layer_of(group_size=2), batch((5, 4, 3, 3)), [2, 0, 1]
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for name in ('weight', 'bias'):
            other._parameters[name].copy_(other._parameters[name][order])
        for name in ('running_mean', 'running_var'):
            getattr(other, name).copy_(getattr(other, name)[order])
        other.mixing.copy_(other.mixing[:, order])
    upstream = batch(x.shape, seed=2)
    ours, theirs = run(layer, x, upstream), run(other, x, upstream)
    for key in ('y', 'x', 'test'):
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-10, atol=1e-10)
    for name in ('running_mean', 'running_var'):
        torch.testing.assert_close(getattr(layer, name)[order], getattr(other, name))
    torch.testing.assert_close(layer.mixing[:, order], other.mixing)


@pytest.mark.parametrize('channels', [2, 16])
@pytest.mark.parametrize('seed', range(3))
def test_planted_modes_are_found(channels, seed):
    """From the seeded start; the means come within 0.05 of the distance between the modes, the shares within 0.05."""
    torch.manual_seed(seed)
    modes = torch.randn(2, channels) * 3 + 5
    distance = (modes[0] - modes[1]).norm()
    layer = CompoundBN(channels, num_components=2, seed=seed)
    for _ in range(120):
        which = (torch.rand(32, 1, 4) < 0.3).long()[:, 0]
        x = modes[which].permute(0, 2, 1) + 0.1 * distance / channels**0.5 * torch.randn(32, channels, 4)
        layer(x)
    error = torch.cdist(layer.running_mean, modes) / distance
    order = error.argmin(1).tolist()
    assert sorted(order) == [0, 1]
    assert error[[0, 1], order].max() < 0.05
    shares = torch.tensor([0.7, 0.3])[order]
    torch.testing.assert_close(layer.mixing[0], shares, atol=0.05, rtol=0)


def test_without_the_asymmetric_start_modes_are_not_found():
    torch.manual_seed(0)
    modes = torch.tensor([[-3.0], [3.0]])
    layer = CompoundBN(1, num_components=2)
    layer.running_mean.zero_()
    for _ in range(50):
        layer(modes[torch.randint(2, (64, ))] + 0.1 * torch.randn(64, 1))
    assert torch.equal(layer.running_mean[0], layer.running_mean[1]), 'identical components never separate'


def test_the_start_is_seeded_and_in_deviations_of_the_first_batch():
    x = 0.01 * batch((64, 4, 2)) + 3
    layers = [CompoundBN(4, seed=seed, spread=0.5).double() for seed in (0, 0, 1)]
    starts = [layer.running_mean.clone() for layer in layers]
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
    torch.testing.assert_close(starts[0].mean(0), torch.zeros(4).double(), atol=1e-6, rtol=0)
    for layer, start in zip(layers, starts, strict=True):
        layer._centre(x, False)
        deviation = x.std((0, 2), correction=0)
        torch.testing.assert_close(layer.running_mean, x.mean((0, 2)) + deviation * start)
        torch.testing.assert_close(layer.running_var, (deviation**2).expand(3, 4))


@pytest.mark.parametrize('mixing', [0.0, 1e-30])
def test_a_starved_component_stays_where_it_is(mixing):
    layer, x = layer_of(), batch((4, 4, 3, 3))
    with torch.no_grad():
        layer.running_mean[2] = 1e4
        layer.mixing.copy_(torch.tensor([[0.5, 0.5, mixing]]))
    still = layer.running_mean[2].clone(), layer.running_var[2].clone()
    for _ in range(3):
        inputs = x.clone().requires_grad_()
        y = layer(inputs)
        (y * batch(x.shape, seed=2)).sum().backward()
        assert torch.isfinite(y).all() and torch.isfinite(inputs.grad).all()
    assert all(torch.isfinite(tensor).all() for tensor in layer.state_dict().values())
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())
    torch.testing.assert_close(layer.running_mean[2], still[0])
    torch.testing.assert_close(layer.running_var[2], still[1])
    assert torch.isfinite(layer.eval()(x)).all()


def test_constant_input_is_finite():
    layer, x = CompoundBN(4), torch.full((4, 4, 2, 2), 3.0, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert torch.isfinite(y).all() and torch.isfinite(x.grad).all()
    assert all(torch.isfinite(b).all() for b in layer.buffers())


@pytest.mark.parametrize('dtype, close', [(torch.float16, 5e-3), (torch.bfloat16, 4e-2)])
@pytest.mark.parametrize('train', [True, False])
def test_half_precision_inputs_are_computed_in_float32(dtype, close, train):
    """300² overflows float16; the statistics are those of float32."""
    layer = layer_of(dtype=torch.float32).train(train)
    x = (100 * batch((6, 4, 3, 3)) + 200).to(dtype)
    layer.running_mean.mul_(100).add_(200)
    layer.running_var.mul_(1e4)
    wide = copy.deepcopy(layer)
    with torch.autocast('cpu', torch.bfloat16):
        y = layer(x)
    expected = wide(x.float())
    assert y.dtype == dtype and torch.isfinite(y).all()
    torch.testing.assert_close(y.float(), expected, rtol=close, atol=close)
    for name, value in wide.state_dict().items():
        assert torch.equal(value, layer.state_dict()[name]), name


def test_copies_and_checkpoints_go_on_the_same():
    """A copy or a restored state in the middle of training, and before its first batch."""
    for steps in (0, 3):
        layer = CompoundBN(4)
        for i in range(steps):
            layer(batch((8, 4, 2), torch.float32, seed=i, shift=4.0))
        fresh = CompoundBN(4, seed=9)
        fresh(batch((8, 4, 2), torch.float32))  # its start is placed; the loaded state replaces it
        fresh.load_state_dict(layer.state_dict())
        others = [fresh, copy.deepcopy(layer)]
        for seed in (20, 21):
            x = batch((8, 4, 2), torch.float32, seed=seed, shift=4.0)
            expected = layer(x)
            for other in others:
                assert torch.equal(other(x), expected)
                for name, value in layer.state_dict().items():
                    assert torch.equal(value, other.state_dict()[name]), name


def test_the_state_of_a_batch_norm_loads():
    torch.manual_seed(0)
    plain, x = nn.BatchNorm2d(4), batch((8, 4, 3, 3), torch.float32, shift=2.0)
    nn.init.uniform_(plain.weight)
    for _ in range(60):
        plain(x)
    layer = CompoundBN(4, spread=1e-3)
    layer.load_state_dict(plain.state_dict())
    assert not torch.equal(layer.running_mean[0], layer.running_mean[1])
    torch.testing.assert_close(layer.eval()(x), plain.eval()(x), rtol=1e-2, atol=1e-2)
    with pytest.raises(RuntimeError, match='size mismatch for'):
        CompoundBN(5).load_state_dict(plain.state_dict())


def test_normalised_affine_vectors_share_a_magnitude():
    """Each component's vectors have the length g, as those of NBN."""
    layer = layer_of(nbn=dict(init_magnitude=2.0, zero_bias='random'))
    layer.magnitude.data.fill_(1.7)
    for name in ('weight', 'bias'):
        vectors = layer._parameters[name].detach()
        expected = 1.7 * vectors / (vectors.norm(dim=1, keepdim=True) + 1e-6)
        torch.testing.assert_close(getattr(layer, name), expected)
        torch.testing.assert_close(getattr(layer, name).norm(dim=1), torch.full((3, ), 1.7).double(), rtol=1e-4, atol=0)
    x = batch((5, 4, 3))
    free = layer_of()
    with torch.no_grad():
        for name in ('weight', 'bias'):
            free._parameters[name].copy_(getattr(layer, name))
        for name in ('running_mean', 'running_var', 'mixing'):
            getattr(free, name).copy_(getattr(layer, name))
    y = layer(x)
    torch.testing.assert_close(y, free(x))
    y.square().sum().backward()
    assert layer.magnitude.grad.abs() > 0
    assert CompoundBN(4, nbn=dict(learn_magnitude=False)).magnitude.requires_grad is False


@pytest.mark.parametrize('options, message', [
    (dict(num_components=0), 'num_components=0 must be an integer >= 1'),
    (dict(num_components=2.0), 'num_components=2.0 must be an integer'),
    (dict(group_size=3), 'group_size=3 does not divide the 4 channels'),
    (dict(tempering=-1), 'tempering=-1 must be a number between 0 and 1'),
    (dict(damping=2), 'damping=2 must be a number between 0 and 1'),
    (dict(spread=0), 'identical components never separate'),
    (dict(split_momentum=True), 'split_momentum=True must be a number'),
    (dict(sync=1), 'sync=1 must be True or False'),
    (dict(nbn=dict(share='all')), "nbn={'share': 'all'} must be a dict of init_magnitude"),
    (dict(nbn=dict(init_magnitude='pretrained')), "init_magnitude='pretrained' records gains"),
    (dict(components=3), "Unknown CompoundBN option 'components'"),
    (dict(placement='A'), r"placement='A' in norm_cfg.*CompoundBNBackbone"),
    (dict(affine=False), 'affine=False: CompoundBN needs it'),
    (dict(track_running_stats=False), 'track_running_stats=False'),
    (dict(eps=0.0), 'eps=0.0 must be greater than 0')], ids=str)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        CompoundBN(4, **options)


def test_wrong_inputs():
    with pytest.raises(ValueError, match=r'4 channels expects an input \(N, 4, \*\), got shape \(2, 5\)'):
        CompoundBN(4)(torch.ones(2, 5))
    with pytest.raises(ValueError, match='at least two values a channel.*train_dataloader.batch_size'):
        CompoundBN(4)(torch.ones(1, 4))


def test_statistics_of_an_old_checkpoint_are_not_rescaled():
    """torch fills in ``num_batches_tracked`` of checkpoints from before it, without a word."""
    bn = nn.BatchNorm1d(3)
    bn.running_mean.fill_(10)
    bn.running_var.fill_(4)
    state = bn.state_dict()
    old = {key: value for key, value in state.items() if key != 'num_batches_tracked'}
    old_layer = CompoundBN(3, num_components=2)
    layer = copy.deepcopy(old_layer)
    layer.load_state_dict(dict(state, num_batches_tracked=torch.tensor(5)))
    old_layer.load_state_dict(old)
    x = 10 + 2 * batch((64, 3), torch.float32)
    for each in (layer, old_layer):
        each.train()(x)
    torch.testing.assert_close(old_layer.running_mean, layer.running_mean)
    torch.testing.assert_close(old_layer.running_var, layer.running_var)
    again = copy.deepcopy(old_layer)
    again.load_state_dict(old_layer.state_dict())
    assert again.num_batches_tracked == 2
