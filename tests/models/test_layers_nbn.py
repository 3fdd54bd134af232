"""The NBN layer against a derivation by hand, its options and its place among norm layers."""
import copy

import numpy as np
import pytest
import torch
from mmcv.cnn import build_norm_layer
from references import nbn as reference
from torch import nn
from torch.func import functional_call

from nbn_mm.models.layers import NBN, NBNOptions, effective_vector

OPTIONS = {
    'published': {},
    'scaled': dict(init_magnitude=2.5, norm_eps=1e-3),
    'separate': dict(separate_bias_magnitude=True),
    'plain': dict(normalize=False, init_magnitude=0.7),
    'smooth': dict(zero_bias='smooth', bias_delta=0.3),
    'random': dict(zero_bias='random'),
    'fixed': dict(learn_magnitude=False, init_magnitude=1.5),
}


def make(channels=5, dtype=torch.float64, at_zero=False, **options):
    torch.manual_seed(0)
    layer = NBN(channels, dtype=dtype, **options)
    with torch.no_grad():
        layer.weight_direction.normal_()
        layer.bias_direction.normal_().mul_(0 if at_zero else 1)
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
        if 'bias_magnitude' in dict(layer.named_parameters()):
            layer.bias_magnitude.fill_(3.0)
    return layer


def by_hand(layer, x, dy, fixed_statistics):
    options = layer.options
    numpy = {name: t.detach().numpy() for name, t in layer.state_dict().items()}
    return reference.nbn(
        x.numpy(), numpy['weight'], numpy['bias'], layer.get_magnitude('weight').item(),
        layer.get_magnitude('bias').item(),
        dy.numpy(), layer.eps, options.norm_eps, options.normalize, options.smooth_delta,
        *((numpy['running_mean'], numpy['running_var']) if fixed_statistics else (None, None)))


@pytest.mark.parametrize('shape', [(6, 5), (4, 5, 3), (2, 5, 3, 4), (2, 5, 2, 2, 3)])
@pytest.mark.parametrize('name', OPTIONS)
@pytest.mark.parametrize('mode', ['train', 'norm_eval'])
@pytest.mark.parametrize('at_zero', [False, True])
def test_forward_and_gradients_equal_the_derivation(shape, name, mode, at_zero):
    layer = make(at_zero=at_zero, **OPTIONS[name]).train(mode == 'train')
    x, dy = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    want = by_hand(layer, x, dy, mode != 'train')
    x.requires_grad_()
    y = layer(x)
    y.backward(dy)

    def close(got, key):
        np.testing.assert_allclose(got.detach().numpy(), want[key], rtol=1e-10, atol=1e-12)

    close(y, 'y')
    close(x.grad, 'x')
    close(layer.weight_direction.grad, 'weight')
    close(layer.bias_direction.grad, 'bias')
    if name == 'fixed':
        assert not layer.magnitude.requires_grad and 'magnitude' in layer.state_dict()
    elif name == 'separate':
        close(layer.magnitude.grad, 'weight_magnitude')
        close(layer.bias_magnitude.grad, 'bias_magnitude')
    else:
        total = want['weight_magnitude'] + want['bias_magnitude']
        np.testing.assert_allclose(layer.magnitude.grad.item(), total, rtol=1e-10, atol=1e-12)


def test_the_derivation_agrees_with_finite_differences():
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 2))
    args = dict(w=rng.normal(size=3), b=rng.normal(size=3), g_w=np.array(1.3), g_b=np.array(0.4))
    names = dict(w='weight', b='bias', g_w='weight_magnitude', g_b='bias_magnitude')
    for delta in (None, 0.5):
        got = reference.nbn(x, dy=dy, delta=delta, **args)
        for key, name in names.items():
            for index in np.ndindex(args[key].shape):
                step = {}
                for sign in (1, -1):
                    moved = {k: v.copy() for k, v in args.items()}
                    moved[key][index] += sign * 1e-6
                    step[sign] = (reference.nbn(x, dy=dy, delta=delta, **moved)['y'] * dy).sum()
                slope = (step[1] - step[-1]) / 2e-6
                np.testing.assert_allclose(np.asarray(got[name])[index], slope, rtol=1e-6, atol=1e-8)


def test_zero_bias_gradient_is_the_incoming_one_over_epsilon():
    layer = make(at_zero=True).train()
    x, dy = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    layer(x).backward(dy)
    torch.testing.assert_close(layer.bias_direction.grad, dy.sum(0) / 1e-6, rtol=1e-12, atol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize('options', [{}, dict(zero_bias='smooth'), dict(init_magnitude='pretrained')])
def test_zero_vectors_give_no_nan(dtype, options):
    vector = torch.zeros(4, dtype=dtype, requires_grad=True)
    magnitude = torch.ones((), dtype=dtype, requires_grad=True)
    parsed = NBNOptions(**options)
    out = effective_vector(vector, magnitude, 1e-3, parsed.normalize, parsed.smooth_delta)
    out.sum().backward()
    assert out.dtype == dtype and not out.any()
    assert vector.grad.isfinite().all() and magnitude.grad == 0


def test_norm_in_float32_for_half_parameters():
    """In float16 the sum of squares of 600 ones times 12 overflows (86,400 > 65,504)."""
    vector = torch.full((600, ), 12.0, dtype=torch.float16)
    out = effective_vector(vector, torch.ones((), dtype=torch.float16))
    torch.testing.assert_close(out, torch.full((600, ), 600**-0.5, dtype=torch.float16))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_norm_in_float32_under_autocast(dtype):
    layer = make(dtype=torch.float32)
    plain = layer.weight, layer.bias
    with torch.autocast('cpu', dtype=dtype):
        cast = layer.weight, layer.bias
        y = layer(torch.randn(4, 5, 2, 2).to(dtype))
    assert torch.equal(plain[0], cast[0]) and torch.equal(plain[1], cast[1]) and cast[0].dtype == torch.float32
    assert y.dtype == dtype and y.isfinite().all()


def test_float64_stays_float64():
    layer = make()
    assert layer.weight.dtype == torch.float64
    exact = layer.weight_direction / (layer.weight_direction.norm() + 1e-6)
    torch.testing.assert_close(layer.weight, exact, rtol=1e-15, atol=0)


def test_evaluation_is_batch_norm_with_the_effective_vectors():
    layer = make(dtype=torch.float32).eval()
    bn = nn.BatchNorm2d(5).eval()
    bn.load_state_dict({**{k: layer._buffers[k] for k in ('running_mean', 'running_var', 'num_batches_tracked')},
                        'weight': layer.weight.detach(), 'bias': layer.bias.detach()})
    x = torch.randn(3, 5, 4, 4)
    assert torch.equal(layer(x), bn(x))


@pytest.mark.parametrize('optimizer', [torch.optim.SGD, torch.optim.AdamW])
def test_norm_eval_outputs_follow_each_step(optimizer):
    layer = make(dtype=torch.float64).eval()
    steps = optimizer(layer.parameters(), lr=0.1)
    x = torch.randn(4, 5, dtype=torch.float64)
    for _ in range(3):
        before = layer(x).detach()
        layer(x).square().sum().backward()
        steps.step()
        after = layer(x).detach()
        assert not torch.equal(before, after)
        np.testing.assert_allclose(after, by_hand(layer, x, x, True)['y'], rtol=1e-12)


def test_names_and_read_only_vectors():
    layer = NBN(4)
    assert set(dict(layer.named_parameters())) == {'weight', 'bias', 'magnitude'}
    assert set(layer.state_dict()) == set(nn.BatchNorm2d(4).state_dict()) | {'magnitude'}
    nn.init.constant_(layer.weight, 0)  # what a host's zero init does
    assert (layer.weight_direction == 1).all()
    for name in ('weight', 'bias'):
        for value in (torch.ones(4), nn.Parameter(torch.ones(4)), None):
            with pytest.raises(AttributeError, match=f'{name} of an NBN layer is the effective vector and read-only'):
                setattr(layer, name, value)


def test_an_attribute_error_inside_never_hands_out_the_direction():
    layer = NBN(4)
    del layer.magnitude
    with pytest.raises(RuntimeError, match='could not compute its effective weight'):
        _ = layer.weight


def test_assigning_load_copy_and_functional_call():
    layer = make(dtype=torch.float32).eval()
    x = torch.randn(3, 5, 2, 2)
    other = NBN(5).eval()
    other.load_state_dict(layer.state_dict(), assign=True)
    assert torch.equal(other(x), layer(x))
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.magnitude.mul_(2)
        doubled = functional_call(layer, {'magnitude': layer.magnitude * 2}, (x, ))
    assert torch.equal(twin(x), doubled) and not torch.equal(layer(x), doubled)
    assert torch.equal(layer.double().float()(x), other(x))
    assert copy.deepcopy(layer).half().weight.dtype == torch.float16


def test_meta_device():
    with torch.device('meta'):
        layer = NBN(4, zero_bias='random', init_magnitude='pretrained')
    assert layer.weight.is_meta


def test_through_build_norm_layer():
    name, layer = build_norm_layer(dict(type='NBN', init_magnitude=3.0, requires_grad=True), 6, postfix=2)
    assert name == 'bn2' and isinstance(layer, NBN) and layer.magnitude == 3 and layer.magnitude.requires_grad
    _, frozen = build_norm_layer(dict(type='NBN', requires_grad=False), 6)
    assert not any(p.requires_grad for p in frozen.parameters())
    _, fixed = build_norm_layer(dict(type='NBN', learn_magnitude=False), 6)
    assert not fixed.magnitude.requires_grad and fixed.weight_direction.requires_grad
    _, first = build_norm_layer(dict(type='NBN'), 6)
    assert first.magnitude is not layer.magnitude


def test_random_zero_bias_starts_with_norm_one():
    torch.manual_seed(1)
    layer = NBN(50, zero_bias='random')
    torch.testing.assert_close(layer.bias_direction.norm(), torch.tensor(1.0))
    assert not torch.equal(NBN(50, zero_bias='random').bias_direction, layer.bias_direction)


@pytest.mark.parametrize('options, message', [
    (dict(init_magnitude=0), r"init_magnitude=0 must be a number > 0 or 'pretrained'"),
    (dict(init_magnitude=-1.0), 'init_magnitude=-1.0 must be'),
    (dict(init_magnitude='loaded'), "init_magnitude='loaded' must be"),
    (dict(init_magnitude=float('nan')), 'init_magnitude=nan must be'),
    (dict(init_magnitude=True), 'init_magnitude=True must be'),
    (dict(norm_eps=-1e-6), 'norm_eps=-1e-06 must be a number >='),
    (dict(norm_eps=0), 'norm_eps=0 must be a number >='),
    (dict(zero_bias='detach'), r"zero_bias='detach' must be one of \('published', 'random', 'smooth'\)"),
    (dict(bias_delta=0), 'bias_delta=0 must be a number >= 1e-15'),
    (dict(bias_delta=1e-25), 'bias_delta=1e-25 must be a number >= 1e-15'),
    (dict(normalize='no'), "normalize='no' must be True or False"),
    (dict(sync=1), 'sync=1 must be True or False'),
    (dict(magnitude=1.0), "Unknown NBN option 'magnitude'; the options are init_magnitude, "),
    (dict(eps=-1e-5), 'NBN: eps=-1e-05 must be greater than 0'),
    (dict(affine=False), 'affine=False: NBN normalises weight and bias'),
    (dict(share='all'), r"share='all' in norm_cfg.*NBNBackbone"),
    (dict(placement='paper', stages=(-1, )), r"placement='paper', stages=\(-1,\) in norm_cfg"),
])
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build_norm_layer(dict(type='NBN', **options), 4)


def test_one_dimensional_input_is_refused():
    with pytest.raises(ValueError, match=r'NBN expects an input \(N, C, \*\), got shape \(4,\)'):
        NBN(4)(torch.randn(4))
