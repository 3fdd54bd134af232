"""Vectors of all NBN layers computed at once: equal to one by one, in every way to run a network, and never stale."""
import copy
import pickle
from contextlib import nullcontext

import pytest
import torch
from references import nbn as reference
from torch import nn
from torch.func import functional_call, grad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from nbn_mm.models.layers import NBN, joint_vectors, nbn
from nbn_mm.models.layers.joint_vectors import effective_vectors, release_vectors
from nbn_mm.models.placement import apply_nbn, fold
from nbn_mm.models.placement.joint_forward import JointForward

OPTIONS = {
    'published': {}, 'blocks': dict(share='block'), 'own': dict(share='none', separate_bias_magnitude=True),
    'smooth': dict(zero_bias='smooth', bias_delta=0.3), 'plain': dict(normalize=False),
    'gains': dict(init_magnitude='pretrained'), 'fixed': dict(learn_magnitude=False),
    'all': dict(placement='C', separate_bias_magnitude=True),
}


class Block(nn.Module):

    def __init__(self, channels, out):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 1), nn.BatchNorm2d(out)

    def forward(self, x):
        return self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()


class Net(nn.Module):
    """Two stages of two blocks, with 4, 4, 6 and 6 channels."""

    def __init__(self, seed=0, **options):
        super().__init__()
        torch.manual_seed(seed)
        self.layer1 = nn.Sequential(Block(3, 4), Block(4, 4))
        self.layer2 = nn.Sequential(Block(4, 6), Block(6, 6))
        apply_nbn(self, **{'stages': None if 'placement' in options else (1, 2), **options})
        with torch.no_grad():
            for name, tensor in self.state_dict().items():
                if tensor.is_floating_point():
                    tensor.copy_(torch.rand_like(tensor) + 0.5 if 'var' in name or 'magn' in name or 'gain' in name
                                 else torch.randn_like(tensor))
        self.double()

    def forward(self, x):
        return self.layer2(self.layer1(x))


X = torch.randn(5, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def one_by_one(net):
    """The network without the joint computation."""
    net = copy.deepcopy(net)
    del net.forward
    return net


def results(net, call=None):
    """Output, gradients and statistics of a training forward."""
    net = copy.deepcopy(net).train()
    out = (call or (lambda net: net(X)))(net)
    out.square().sum().backward()
    return [out.detach(), *(p.grad for p in net.parameters()), *net.buffers()]


def assert_close(got, want, rtol=1e-10):
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-12)


def layers_of(net):
    return [module for module in net.modules() if isinstance(module, NBN)]


@pytest.mark.parametrize('name', OPTIONS)
def test_equals_the_derivation_and_one_by_one(name):
    net = Net(**OPTIONS[name])
    layers = layers_of(net)
    assert net.nbn.layers == layers and len({layer.num_features for layer in layers}) == 2
    upstream = {}
    loss = 0
    for layer, vectors in zip(layers, effective_vectors(layers), strict=True):
        options = layer.options
        for kind, vector in vectors.items():
            gain = getattr(layer, f'{kind}_gain').item() if options.records_gains else 1.
            delta = options.smooth_delta if kind == 'bias' else None
            magnitude = layer.get_magnitude(kind)
            args = (layer._parameters[kind].detach().numpy(), magnitude.item() * gain)
            rest = (options.norm_eps, options.normalize, delta)
            assert_close([vector.detach()], [torch.from_numpy(reference.effective(*args, *rest))])
            incoming = torch.randn_like(vector)
            loss = loss + (vector * incoming).sum()
            direction, scale = reference.effective_gradients(*args, incoming.numpy(), *rest)
            upstream[layer._parameters[kind]] = torch.from_numpy(direction)
            upstream[magnitude] = upstream.get(magnitude, 0) + torch.tensor(scale * gain, dtype=torch.float64)
    loss.backward()
    for parameter, expected in upstream.items():
        if parameter.requires_grad:
            assert_close([parameter.grad], [expected])
    net.zero_grad()
    assert_close(results(net), results(one_by_one(net)))
    with torch.no_grad():
        assert torch.equal(net.eval()(X), one_by_one(net)(X))
        assert torch.equal(net(X), fold(net)[0](X))


def test_number_of_operations_does_not_grow_with_the_layers():
    class Count(TorchDispatchMode):
        norms = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.norms += 'vector_norm' in str(func)
            return func(*args, **(kwargs or {}))

    net = Net()
    counts = []
    for network in (net, one_by_one(net)):
        with Count() as count:
            network(X).sum().backward()
        counts.append(count.norms)
    assert counts[0] == 2, 'one for each number of channels'
    assert counts[1] == 8, 'four layers that compute them all'


def test_gradients_by_finite_differences_of_both_orders():
    net = Net(share='block')
    parameters = [net.layer1[1].bn2.weight_direction, net.layer2[0].bn2.bias_direction,
                  *net.nbn.parameters()]

    def output(*_):
        return net.eval()(X).sum((0, 2, 3))

    assert torch.autograd.gradcheck(output, parameters)
    assert torch.autograd.gradgradcheck(output, parameters)


# -- ways to run -------------------------------------------------------------------------------------------------------
def checkpointed(module):
    own = module.forward
    module.forward = lambda *args: checkpoint(own, *args, use_reentrant=False)  # as mmengine's Runner does


@pytest.mark.parametrize('what', ['block', 'layer', 'backbone', 'backbone_reentrant'])
def test_activation_checkpointing(what):
    net = Net(share='block')

    def call(net):
        if what == 'backbone_reentrant':
            return checkpoint(net, X.clone().requires_grad_(), use_reentrant=True)
        checkpointed({'block': net.layer2[0], 'layer': net.layer2[0].bn2, 'backbone': net}[what])
        return net(X)

    buffers = len(list(net.buffers()))  # statistics move twice, in the recomputation too
    assert_close(results(net, call)[:-buffers], results(net)[:-buffers])


def test_with_cp_of_a_host():
    net = Net()
    for flagged in (net, *net.layer1, *net.layer2):
        flagged.with_cp = True
    bare = copy.deepcopy(net)
    from nbn_mm.models.placement.checkpointing import checkpoint_shared
    assert len(checkpoint_shared(net)) == 4
    x = X.clone().requires_grad_()
    outs = [results(network, lambda n: n(x))[:1 + len(list(net.parameters()))] for network in (net, bare)]
    assert_close(*outs)


@pytest.mark.parametrize('copied', [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_run_by_themselves(copied):
    net = Net().eval()
    twin = copied(net)
    assert isinstance(twin.forward, JointForward) and twin.nbn.layers == layers_of(twin)
    with torch.no_grad():
        before = net(X)
        for tensor in twin.parameters():
            tensor.mul_(1.5)
        assert torch.equal(net(X), before) and not torch.equal(twin(X), before)


def test_functional_call_and_function_transforms():
    net = Net(share='block').train()
    parameters = {name: p.detach() * 1.25 for name, p in net.named_parameters()}
    buffers = {name: b.clone() for name, b in net.named_buffers()}

    def loss(parameters, network):
        return functional_call(network, (parameters, {k: b.clone() for k, b in buffers.items()}), (X, )).square().sum()

    moved = copy.deepcopy(net)
    with torch.no_grad():
        for p in moved.parameters():
            p.mul_(1.25)
    want = dict(zip(dict(net.named_parameters()), results(moved)[1:]))  # noqa: B905, the input has no name
    for network in (net, one_by_one(net)):
        found = grad(loss)(parameters, network)
        assert_close(list(found.values()), [want[name] for name in found])


def test_layers_alone_equal_those_of_the_backbone():
    net = Net(placement='C').eval()
    seen = []
    for layer in net.nbn.layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append((module, inputs[0], output)))
    with torch.no_grad():
        net(X)
        for layer, x, y in seen[:8]:
            assert torch.equal(layer(x), y)
            assert torch.equal(nn.functional.batch_norm(x, layer.running_mean, layer.running_var, layer.weight,
                                                        layer.bias), y)


def test_gradients_where_the_backbone_runs_without():
    """A layer that records gradients within a backbone that does not has a graph of its own."""
    net = Net().eval()
    layer = net.layer2[1].bn2
    own = layer.forward

    def with_gradients(x):
        with torch.enable_grad():
            out = own(x)
            out.sum().backward()
        return out

    layer.forward = with_gradients
    with torch.no_grad():
        net(X)
    assert layer.weight_direction.grad is not None and not layer._held


def test_accumulated_gradients():
    net = Net(share='block')
    twice = copy.deepcopy(net)
    for _ in range(2):
        net.eval()(X).sum().backward()
    (2 * twice.eval()(X).sum()).backward()
    assert_close([p.grad for p in net.parameters()], [p.grad for p in twice.parameters()])


def test_frozen_layers():
    net = Net()
    for p in net.layer1.parameters():
        p.requires_grad_(False)
    net(X).sum().backward()
    assert all(p.grad is None for p in net.layer1.parameters())
    assert all(p.grad is not None for p in [*net.layer2.parameters(), net.nbn.magnitude])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    net = Net().float().train()
    x = X.float()
    seen = []
    for layer in net.nbn.layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(dict(module._held)))
    net(x)
    with torch.autocast('cpu', dtype=dtype):
        net(x).float().sum().backward()
    for plain, cast in zip(seen[:4], seen[4:], strict=True):
        assert all(torch.equal(plain[name], cast[name]) and cast[name].dtype == torch.float32
                   for name in ('weight', 'bias'))
    assert all(p.grad.isfinite().all() for p in net.parameters())


# -- nothing stale -----------------------------------------------------------------------------------------------------
def load(net):
    net.load_state_dict(Net(seed=1).state_dict())


def assign(net):
    net.load_state_dict(Net(seed=1).state_dict(), assign=True)


def swap(net):
    """As mmengine's EMAHook does."""
    other = Net(seed=1)
    for ours, theirs in zip([*net.parameters(), *net.buffers()], [*other.parameters(), *other.buffers()], strict=True):
        kept = theirs.data.clone()
        theirs.data.copy_(ours.data)
        ours.data.copy_(kept)


def edit(which):
    def change(net):
        layer = net.layer2[0].bn2
        vector = dict(weight=layer.weight_direction, bias=layer.bias_direction, magnitude=net.nbn.magnitude)[which]
        vector.data[...] = vector.data * -2 + 0.25 * torch.arange(vector.numel()).reshape(vector.shape)

    return change


@pytest.mark.parametrize('mode', ['eager', 'compiled', 'compiled_blocks'])
@pytest.mark.parametrize('change', [load, assign, swap, edit('weight'), edit('bias'), edit('magnitude')],
                         ids=['load', 'assign', 'swap', 'weight', 'bias', 'magnitude'])
def test_what_changes_after_eval_changes_the_next_output(change, mode):
    net = Net().eval()
    run = net
    if mode == 'compiled':
        run = torch.compile(net, backend='eager', fullgraph=True)
    elif mode == 'compiled_blocks':
        for block in (*net.layer1, *net.layer2):
            block.compile(backend='eager')
    with torch.no_grad():
        before = run(X)
        change(net)
        after = run(X)
        fresh = Net(seed=2).eval()
        fresh.load_state_dict(net.state_dict())
        assert not torch.equal(after, before) and torch.equal(after, fresh(X))
        assert torch.equal(fold(net)[0](X), after)


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_error_in_the_forward_leaves_nothing_behind(error):
    net = Net().eval()
    handle = net.layer2.register_forward_hook(lambda *_: (_ for _ in ()).throw(error))
    with torch.no_grad():
        with pytest.raises(error):
            net(X)
        handle.remove()
        layer = net.layer1[0].bn2
        before = layer.weight.clone()
        net.nbn.magnitude.data.mul_(2)
        torch.testing.assert_close(layer.weight, before * 2)
    assert not any(layer._held for layer in net.nbn.layers)


def test_a_folded_network_has_its_own_forward():
    folded, report = fold(Net())
    assert 'forward' not in vars(folded) and not report.remaining
    pickle.loads(pickle.dumps(folded))


@pytest.mark.parametrize('training', [True, False])
def test_compiled_numbers(training):
    """Gradients through AOTAutograd, in one graph."""
    net = Net(share='block').train(training)
    twin = copy.deepcopy(net)
    compiled = torch.compile(twin, backend='aot_eager', fullgraph=True)
    with nullcontext() if training else torch.no_grad():
        for _ in range(2):
            want, got = net(X), compiled(X)
            torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
            if training:
                for out, network in ((want, net), (got, twin)):
                    network.zero_grad()
                    out.square().sum().backward()
                assert_close([p.grad for p in twin.parameters()], [p.grad for p in net.parameters()])
                for network in (net, twin):
                    torch.optim.SGD(network.parameters(), lr=1e-2).step()
    assert_close(twin.buffers(), net.buffers())


def test_traced_and_exported():
    net = Net().eval()
    with torch.no_grad():
        want = net(X)
        assert torch.equal(torch.jit.trace(net, X)(X), want)
    program = torch.export.export(net, (X, ))
    torch.testing.assert_close(program.module()(X), want, rtol=1e-12, atol=1e-12)
    assert program.graph_signature.user_inputs == ('x', )


def test_another_thread_may_end_its_forward_at_any_time(monkeypatch):
    """Two threads that evaluate one network: the end of one's forward takes no vectors from the other's."""
    net = Net(placement='C').eval()
    with torch.no_grad():
        expected = net(X)
        asked = []

        def interrupted(layer):
            held = joint_vectors.held_vectors(layer)
            release_vectors(net.nbn.layers)
            asked.append(held)
            return held

        monkeypatch.setattr(nbn, 'held_vectors', interrupted)
        torch.testing.assert_close(net(X), expected, rtol=0, atol=0)
    assert any(held for held in asked) and not all(held for held in asked)
