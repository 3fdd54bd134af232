"""Which batch norms of a network are chosen, and how they are grouped."""
import pytest
from torch import nn

from nbn_mm.models.layers import NBN, AllReduceBN
from nbn_mm.models.placement import apply_nbn, batch_norms, group_layers, select_layers


class Block(nn.Module):
    """Its batch norms are not defined in the order of their numbers."""

    def __init__(self, shortcut):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(4)
        self.bn3 = nn.BatchNorm2d(4)
        self.bns = nn.ModuleList([nn.BatchNorm2d(2), nn.BatchNorm2d(2)])
        self.bn2 = nn.BatchNorm2d(4)
        self.se = nn.Sequential(nn.Conv2d(4, 1, 1))
        if shortcut:
            setattr(self, shortcut, nn.Sequential(nn.AvgPool2d(1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))


class Net(nn.Module):

    def __init__(self, shortcut='downsample'):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(4)
        for i in (1, 2):
            self.add_module(f'layer{i}', nn.Sequential(Block(shortcut), Block(None)))


PAPER = ['layer2.0.bn3', 'layer2.0.downsample.2', 'layer2.1.bn3']
STAGE = [f'layer2.{n}' for n in ('0.bn1', '0.bn3', '0.bns.0', '0.bns.1', '0.bn2', '0.downsample.2', '1.bn1', '1.bn3',
                                 '1.bns.0', '1.bns.1', '1.bn2')]


def test_placements():
    net = Net()
    every = list(batch_norms(net))
    assert select_layers(net) == PAPER
    assert select_layers(net, 'A') == STAGE
    assert select_layers(net, 'B_stage') == [n for n in STAGE if n not in PAPER]
    assert select_layers(net, 'B_network') == [n for n in every if n not in PAPER]
    assert select_layers(net, 'C') == every and len(every) == 23
    assert select_layers(net, stages=(1, )) == [n.replace('layer2', 'layer1') for n in PAPER]
    assert select_layers(net, stages=(-1, -2)) == [n.replace('layer2', 'layer1') for n in PAPER] + PAPER
    assert select_layers(net, pattern=r'^layer2\.1\.bn\d$') == ['layer2.1.bn1', 'layer2.1.bn3', 'layer2.1.bn2']
    assert select_layers(net, 'A', pattern=r'^bn1$') == ['bn1']
    assert 'layer2.0.shortcut.2' in select_layers(Net('shortcut'))


def test_stage_names_of_the_host_come_first():
    net = Net()
    net.res_layers = ['layer1']
    assert select_layers(net) == [n.replace('layer2', 'layer1') for n in PAPER]


def test_groups():
    net = Net()
    names = select_layers(net)
    assert group_layers(net, names, 'all') == dict.fromkeys(names, '')
    assert group_layers(net, names, 'none') == {n: n.replace('.', '_') for n in names}
    assert list(group_layers(net, names, 'block').values()) == ['layer2_0', 'layer2_0', 'layer2_1']
    assert group_layers(net, ['bn1'], 'block') == {'bn1': 'stem'}
    assert list(group_layers(net, names, r'(bn3|downsample)').values()) == ['bn3', 'downsample', 'bn3']


def affine_free():
    net = Net()
    net.layer2[1].bn3 = nn.BatchNorm2d(4, affine=False)
    return net


def unnumbered():
    net = Net()
    net.layer2[0] = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(nn.BatchNorm2d(4)))
    return net


@pytest.mark.parametrize('net, options, message', [
    (Net, dict(placement='D'), r"nbn.placement='D' must be one of \('paper', 'A', 'B_stage', 'B_network', 'C'\)"),
    (Net, dict(stages=(3, )), r'nbn.stages=\(3,\): Net has 2 stages \(layer1, layer2\); 3 is out of range'),
    (Net, dict(stages=(0, )), '0 is out of range'),
    (Net, dict(stages=(-3, )), '-3 is out of range'),
    (Net, dict(stages=()), r'nbn.stages=\(\) must be a tuple of integers'),
    (Net, dict(stages=2), 'nbn.stages=2 must be a tuple of integers'),
    (Net, dict(stages=('layer2', )), 'must be a tuple of integers'),
    (Net, dict(placement='C', stages=(1, )), "nbn.stages.* has no meaning with nbn.placement='C'"),
    (Net, dict(pattern='bn', stages=(1, )), "has no meaning with nbn.pattern='bn'"),
    (Net, dict(pattern='norm9'), "nbn.pattern='norm9' matches no batch norm of Net; there are bn1, .*23 in all"),
    (Net, dict(pattern='('), r"nbn.pattern='\(' is no regular expression"),
    (Net, dict(pattern=3), 'nbn.pattern=3 is no regular expression'),
    (Net, dict(share='(a'), r"nbn.share='\(a' is no regular expression"),
    (Net, dict(share='layer'), "nbn.share='layer' must be one of .*one group.*it has 0"),
    (Net, dict(share='(l)(a)'), 'it has 2'),
    (Net, dict(share='(expert)'), r"nbn.share='\(expert\)' finds no group in the name of the NBN layer 'layer2.0.bn3'"),
    (Net, dict(share=None), 'nbn.share=None must be one of'),
    (Net, dict(norm_epsilon=1), "Unknown NBN option 'norm_epsilon'; the options are placement, stages, "),
    (Net, dict(norm_eps=-1), 'norm_eps=-1 must be'),
    (affine_free, {}, r'layer2.1.bn3 has no weight and bias \(affine=False\)'),
    (unnumbered, {}, r'Block layer2.0 \(Sequential\) has no batch norm named with a number'),
    (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), {}, 'Sequential has no batch norm.*norm_cfg'),
    (lambda: nn.Sequential(nn.BatchNorm2d(4)), {}, 'Sequential has no residual stages.*pattern'),
    (lambda: nn.Sequential(nn.SyncBatchNorm(4)), dict(pattern='0'), r'0 is a SyncBN.*nbn=dict\(sync=True\)'),
    (lambda: nn.Sequential(NBN(4)), dict(pattern='0'), r"0 is NBN already: .*norm_cfg=dict\(type='BN'\)"),
])
def test_wrong_options(net, options, message):
    network = net()
    with pytest.raises(ValueError, match=message):
        apply_nbn(network, **options)
    assert not hasattr(network, 'nbn')


def test_groups_of_one_name_are_refused():
    net = nn.Module()
    net.add_module('a_b', nn.BatchNorm2d(2))
    net.a = nn.Sequential()
    net.a.add_module('b', nn.BatchNorm2d(2))
    with pytest.raises(ValueError, match="'a_b' and 'a.b' would both be named 'a_b'"):
        apply_nbn(net, pattern='.', share='none')
    with pytest.raises(ValueError, match="the group 'train' cannot name a parameter"):
        group_layers(net, ['train.bn'], '(train)')


def test_twice_is_refused():
    with pytest.raises(ValueError, match="already has an attribute 'nbn'"):
        apply_nbn(apply_nbn(Net()))


def test_what_a_layer_keeps():
    net = Net().double()
    bn = net.layer2[1].bn3
    bn.eps, bn.momentum = 1e-3, None
    bn.weight.requires_grad_(False)
    nn.init.normal_(bn.weight), nn.init.normal_(bn.running_mean)
    nn.init.zeros_(net.layer2[0].bn3.weight)
    bn.eval()
    net.layer2[1].alias = bn  # a module in two places
    apply_nbn(net)
    layer = net.layer2[1].bn3
    assert isinstance(layer, NBN) and layer is net.layer2[1].alias and layer.source_type is nn.BatchNorm2d
    assert layer.weight_direction is bn.weight and not layer.weight_direction.requires_grad
    assert layer.bias_direction.requires_grad and layer.running_mean is bn.running_mean
    assert (layer.eps, layer.momentum, layer.training) == (1e-3, None, False) and net.nbn.training
    assert net.nbn.magnitude.dtype == torch_dtype(bn) and (net.layer2[0].bn3.weight_direction == 1).all()


def torch_dtype(bn):
    return bn.weight.dtype


def test_sync_replaces_the_other_batch_norms():
    net = Net()
    keys = set(net.state_dict())
    apply_nbn(net, sync=True)
    assert set(net.state_dict()) == keys | {'nbn.magnitude'}
    norms = batch_norms(net).values()
    assert {type(m) for m in norms} == {NBN, AllReduceBN} and all(m.sync for m in norms)
    net = nn.Sequential(AllReduceBN(4), nn.BatchNorm1d(4))
    apply_nbn(net, pattern='.')
    assert net[0].sync and not net[1].sync and net[1].source_type is nn.BatchNorm1d


def test_a_lone_layer1_before_other_stages_is_no_stage():
    """HRNet: its stem is layer1, and stage2 to stage4 follow."""
    net = Net()
    net.stage2 = net.layer2
    del net.layer2
    with pytest.raises(ValueError, match='no residual stages .*nbn=dict.pattern'):
        select_layers(net)
    assert select_layers(net, pattern=r'stage2\..*bn3') == ['stage2.0.bn3', 'stage2.1.bn3']
    del net.stage2
    assert select_layers(net) == [name.replace('layer2', 'layer1') for name in PAPER]
