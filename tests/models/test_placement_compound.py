"""Placing CompoundBN, the groups of classes, and the two paths of its backbone."""
import copy

import pytest
import torch
import torch.nn.functional as F
from compound_networks import COUNTS, RECORD, DigitsNet, long_tailed_digits, mean_responsibilities, train_digits
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS
from torch import nn

from nbn_mm.models.layers import AllReduceBN, CompoundBN
from nbn_mm.models.placement import apply_compound_bn, fold, fold_model_config, frequency_partition, select_layers

X = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 0, 1, 2, 5, 6, 9, 9])


def build(compound=None, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type='CompoundBNBackbone', base='CIFARResNet', depth=8, compound=compound, **kwargs))


# -- placement --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('options', [dict(), dict(placement='A'), dict(placement='B_network'), dict(placement='C'),
                                     dict(stages=(1, 2)), dict(pattern=r'layer2\.0\.bn1')], ids=str)
def test_placement_is_that_of_nbn(options):
    plain = MODELS.build(dict(type='CIFARResNet', depth=8))
    model = build(dict(options))
    placed = [name for name, module in model.named_modules() if isinstance(module, CompoundBN)]
    assert placed == select_layers(plain, **options)
    assert set(plain.state_dict()) <= set(model.state_dict())
    assert {key.rpartition('.')[2] for key in set(model.state_dict()) - set(plain.state_dict())} == {'mixing'}


def test_components_start_with_the_vectors_of_the_layer_they_replace():
    plain = DigitsNet(num_components=2)
    bn = nn.BatchNorm2d(16)
    with torch.no_grad():
        bn.weight.uniform_()
        bn.running_var.fill_(4)
        bn.running_mean.fill_(3)
    bn.weight.requires_grad_(False)
    layer = CompoundBN.from_batch_norm(bn.eval(), plain.bn3.options)
    assert torch.equal(layer.weight, bn.weight.expand(2, 16)) and not layer._parameters['weight'].requires_grad
    assert layer._parameters['bias'].requires_grad and not layer.training
    torch.testing.assert_close(layer.running_mean.mean(0), bn.running_mean)
    assert layer.running_mean.std(0).min() > 0 and torch.equal(layer.running_var, bn.running_var.expand(2, 16))


def test_hosts_see_a_batch_norm():
    """Initialisers fill the vectors of all components, norm_eval stops them, and their decay is that of norms."""
    from mmengine.model.weight_init import constant_init
    from mmengine.optim import build_optim_wrapper
    model = build(dict(split=False))
    layer = model.layer3[0].bn2
    constant_init(layer, 0.0)
    assert not layer.weight.any() and not layer._parameters['weight'].any()
    wrapper = build_optim_wrapper(model, dict(
        optimizer=dict(type='SGD', lr=0.1, weight_decay=0.5), paramwise_cfg=dict(norm_decay_mult=0.0)))
    decays = {id(p): group['weight_decay'] for group in wrapper.param_groups for p in group['params']}
    assert decays[id(layer._parameters['weight'])] == 0 and decays[id(model.conv1.weight)] == 0.5
    by_norm_cfg = MODELS.build(dict(type='CIFARResNet', depth=8, norm_cfg=dict(type='CompoundBN', num_components=2)))
    names = [name for name, m in by_norm_cfg.named_modules() if isinstance(m, CompoundBN)]
    assert 'layer1.0.bn1' in names and len(names) == 7


@pytest.mark.parametrize('nbn', [False, True])
def test_optimiser_of_nbn_knows_the_vectors(nbn):
    """With ``nbn`` the vectors are directions; one magnitude for all layers and components."""
    from mmengine.optim import build_optim_wrapper
    model = build(dict(split=False, placement='C', nbn=dict() if nbn else None))
    cfg = dict(optimizer=dict(type='SGD', lr=0.1, weight_decay=0.5), constructor='NBNOptimWrapperConstructor',
               paramwise_cfg=dict(norm_decay_mult=0.0, direction_decay_mult=1.0, magnitude_decay_mult=2.0))
    wrapper = build_optim_wrapper(model, cfg)
    decays = {id(p): group['weight_decay'] for group in wrapper.param_groups for p in group['params']}
    named = dict(model.named_parameters())
    assert decays[id(named['layer1.0.bn1.weight'])] == (0.5 if nbn else 0.0)
    assert [key for key in named if 'magnitude' in key] == (['compound.magnitude'] if nbn else [])
    if nbn:
        assert decays[id(named['compound.magnitude'])] == 1.0
        assert model.layer1[0].bn1.weight.norm(dim=1) .tolist() == pytest.approx([1.0] * 3, abs=1e-5)


@pytest.mark.parametrize('compound, message', [
    (dict(placement='D'), r"compound.placement='D' must be one of .* or choose layers by name with compound=dict"),
    (dict(pattern='nothing'), "compound.pattern='nothing' matches no batch norm"),
    (dict(stages=(7, )), r'compound.stages=\(7,\)'),
    (dict(num_components=0), 'num_components=0 must be an integer >= 1'),
    (dict(num_components=1), 'compound.num_components=1 has one group'),
    (dict(split='yes'), "compound.split='yes' must be True or False"),
    (dict(group_size=5), 'group_size=5 does not divide the 64 channels'),
    (dict(share='all'), "Unknown CompoundBN option 'share'; the options are placement, stages")], ids=str)
def test_wrong_options(compound, message):
    with pytest.raises(ValueError, match=message):
        build(compound)


def test_wrong_backbones():
    with pytest.raises(ValueError, match=r'backbone.split=True belongs into backbone.compound=dict\(split=...\)'):
        build(split=True)
    with pytest.raises(TypeError, match='backbone.compound=3 must be a dict'):
        build(3)
    with pytest.raises(ValueError, match='already has an attribute'):
        apply_compound_bn(build())
    with pytest.raises(ValueError, match=r'bn1 is NBN already.*compound=dict\(nbn=dict\(\)\)'):
        build(norm_cfg=dict(type='NBN'))
    with pytest.raises(ValueError, match=r'SyncBN.*compound=dict\(sync=True\)'):
        build(norm_cfg=dict(type='SyncBN'))
    with pytest.raises(ValueError, match='no weight and bias, or no running statistics'):
        build(norm_cfg=dict(type='BN', affine=False))
    pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')
    with pytest.raises(ValueError, match='with_cp=True.*backbone.with_cp=False'):
        MODELS.build(dict(type='CompoundBNBackbone', base='mmpretrain.ResNet', depth=18, with_cp=True))


# -- groups -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('counts, number, groups', [
    ([9, 1, 5, 7], 2, [0, 1, 1, 0]), ([5, 5, 5], 3, [0, 1, 2]), ([1, 2, 3, 4, 5], 2, [1, 1, 0, 0, 0]),
    ([8, 8, 1, 0, 3, 2, 9], 3, [0, 0, 2, 2, 1, 1, 0])])
def test_classes_are_grouped_by_frequency(counts, number, groups):
    assert frequency_partition(counts, number) == groups


def test_groups_need_classes():
    with pytest.raises(ValueError, match='compound.num_components=3: 2 classes do not make so many groups'):
        frequency_partition([4, 2], 3)


# -- the two paths ----------------------------------------------------------------------------------------------------
def grouped_reference(net, features, groups, number):
    """The split path of ``bn3`` from batch norms, one a group, and the moving statistics of the component."""
    out = torch.empty_like(features)
    for k in range(number):
        rows = groups == k
        weight, bias = net.bn3._parameters['weight'][k], net.bn3._parameters['bias'][k]
        mean, var = net.bn3.running_mean[k], net.bn3.running_var[k]
        few = rows.sum() < 2
        out[rows] = F.batch_norm(features[rows], mean.clone() if few else None, var.clone() if few else None, weight,
                                 bias, not few, 0.1, net.bn3.eps) if rows.any() else features[rows]
    return out


def features_before(net, x):
    for number in (1, 2):
        x = F.relu(getattr(net, f'bn{number}')(getattr(net, f'conv{number}')(x)))
    return net.conv3(x)


@pytest.mark.parametrize('labels', [LABELS, torch.tensor([0, 0, 1, 2, 0, 1, 9, 1])],
                         ids=['all groups', 'one of a group'])
def test_split_path_equals_batch_norms_of_the_groups(labels):
    """Values, gradients, what moves, and the group of one image: moving statistics, which stay."""
    net = DigitsNet(num_components=3, split_momentum=0.3).double()
    with torch.no_grad():
        net.bn3._parameters['weight'].uniform_(0.5, 1.5)
        net.bn3._parameters['bias'].uniform_(-1, 1)
    x, groups = X.double(), net.compound.groups[labels]
    slow = copy.deepcopy(net)
    net.compound.inform(labels)
    out = net(x)
    assert out.shape == (16, 16)

    slow.compound.inform(None)
    compound = slow(x)  # moves the statistics as the first path of the other did
    before = {name: buffer.clone() for name, buffer in slow.named_buffers()}
    split = F.relu(grouped_reference(slow, features_before(slow, x), groups, 3)).mean((2, 3))
    torch.testing.assert_close(out, torch.cat([compound, split]))

    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for _network, outputs in ((net, out), (slow, torch.cat([compound, split]))):
        (outputs * upstream).sum().backward()
    for (name, ours), theirs in zip(net.named_parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)

    features = features_before(copy.deepcopy(slow), x).detach()
    for k in range(3):
        rows = features[groups == k]
        mean, var = before['bn3.running_mean'][k], before['bn3.running_var'][k]
        if len(rows) >= 2:
            mean = mean + 0.3 * (rows.mean((0, 2, 3)) - mean)
            var = var + 0.3 * (rows.var((0, 2, 3)) - var)
        torch.testing.assert_close(net.bn3.running_mean[k], mean)
        torch.testing.assert_close(net.bn3.running_var[k], var)
    for name, buffer in net.named_buffers():
        if not name.startswith('bn3.running'):
            assert torch.equal(buffer, before[name]), f'{name} moved on the split path'


def test_test_has_the_compound_path_alone():
    net = DigitsNet(num_components=2).train()
    net.compound.inform(LABELS)
    assert net(X).shape == (16, 16)
    net.compound.forget()
    out = net.eval()(X)
    assert out.shape == (8, 16)
    with torch.no_grad():
        assert torch.equal(out, DigitsNet.forward(net, X))
    alone = DigitsNet(num_components=2, split=False).train()
    assert alone(X).shape == (8, 16)


def test_a_training_forward_needs_labels_and_counts():
    net = DigitsNet(num_components=2).train()
    with pytest.raises(RuntimeError, match=r"the labels.*custom_hooks = \[dict\(type='CompoundBNHook'\)\]"):
        net(X)
    net.compound.inform(LABELS[:3])
    with pytest.raises(ValueError, match=r'batch has 8 images, its labels have the shape \(3,\)'):
        net(X)
    net.compound.inform(LABELS + 1)
    with pytest.raises(ValueError, match='labels reach from 1 to 10, but there are counts of 10 classes'):
        net(X)
    net.compound.groups = None
    net.compound.inform(LABELS)
    with pytest.raises(RuntimeError, match="no class counts. Add `default_hooks = dict.class_counts=dict"):
        net(X)
    assert net.compound.membership is None and not net.bn1._buffers['running_mean'].requires_grad


def test_an_error_on_the_split_path_leaves_the_network_whole():
    net = DigitsNet(num_components=2).train()
    buffers = [id(b) for b in net.buffers()]
    calls = []

    def fail(module, inputs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyError('on the way')

    net.conv3.register_forward_pre_hook(fail)
    net.compound.inform(LABELS)
    with pytest.raises(KeyError, match='on the way'):
        net(X)
    assert net.compound.membership is None and [id(b) for b in net.buffers()] == buffers


@pytest.mark.parametrize('seed', range(3))
def test_the_split_path_gives_the_tail_a_component_of_its_own(seed):
    """Without it EM leaves one component with nearly all; with it the rare classes' component holds more of them."""
    _, _, images, labels = long_tailed_digits(seed)
    rare = torch.tensor(frequency_partition(COUNTS, 2))[labels] == 1
    difference = {}
    for split in (False, True):
        net, _ = train_digits(seed, split, steps=60, num_components=2)
        r = mean_responsibilities(net, net.bn3, images)[:, 1]
        difference[split] = float(r[rare].mean() - r[~rare].mean())
    assert difference[True] > difference[False] + 0.02 and difference[True] > 0


def test_copies_averages_and_checkpoints():
    """A deep copy has its own owner; averaged models and state dicts carry all of the state, and no more."""
    net, _ = train_digits(0, True, steps=3, num_components=3, nbn=dict())
    average = ExponentialMovingAverage(net, momentum=0.5, update_buffers=True)
    twin = copy.deepcopy(net)
    assert twin.bn3._owner is twin.compound and twin.forward.owner is twin.compound
    assert twin.bn3._owner is not net.compound and torch.equal(twin(X), net(X))
    with torch.no_grad():
        twin.compound.magnitude.mul_(2)
    assert not torch.equal(twin(X), net(X))
    average.update_parameters(net)
    assert torch.equal(average.module.eval()(X), net(X))
    fresh = DigitsNet(seed=4, num_components=3, nbn=dict())
    assert set(net.state_dict()) == set(fresh.state_dict()) and 'compound.magnitude' in net.state_dict()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh.eval()(X), net(X))
    for network in (net, fresh):
        network.train().compound.inform(LABELS)
    assert torch.equal(net(X), fresh(X))


def test_sync_makes_the_other_batch_norms_synchronised():
    net = DigitsNet(num_components=2, sync=True)
    assert isinstance(net.bn1, AllReduceBN) and net.bn3.options.sync


def test_fold_names_what_it_cannot_fold():
    """The report names each layer; what can be folded beside it is."""
    net = DigitsNet(num_components=2, sync=True)
    folded, report = fold(net)
    assert report.norms == ['bn1', 'bn2'] and type(folded.bn1) is nn.BatchNorm2d
    assert 'CompoundBN mixes 2 components' in report.remaining['bn3'] and 'cannot be folded' in str(report)
    assert torch.equal(folded(X), net.eval()(X))
    alone, report = fold(DigitsNet(num_components=2))
    assert list(report.remaining)[0] == 'bn3' and report.norms == []
    cfg = dict(type='CompoundBNBackbone', base='ResNet', compound=dict(num_components=3))
    assert fold_model_config(cfg) == cfg


def test_groups_are_no_part_of_the_state():
    net = DigitsNet(num_components=2)
    before = set(net.state_dict())
    net.compound.set_class_counts(RECORD)
    net.compound.inform(LABELS)
    assert set(net.state_dict()) == before and not net.compound.class_counts_at_test
