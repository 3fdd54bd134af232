"""NBNStartHook: how far NBN is from the pretrained network, against the two networks run by hand."""
import re

import pytest
import tiny_classification as tiny
import torch

pytest.importorskip('mmpretrain', reason='the runs need mmpretrain')

from mmengine.registry import MODELS, DefaultScope  # noqa: E402

from nbn_mm.engine.hooks import change_of_outputs  # noqa: E402

RESNET = dict(depth=18, stem_channels=8, base_channels=8, out_indices=(0, 1, 2, 3))


def build(**cfg):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfg)


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """A BN network whose vectors and statistics are no longer those of the start, and its file."""
    torch.manual_seed(0)
    network = build(type='ResNet', **RESNET)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.2, 1.5)
            module.bias.data.normal_(std=0.3)
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2)
    path = tmp_path_factory.mktemp('pretrained') / 'resnet.pth'
    torch.save(dict(state_dict=network.state_dict()), path)
    network.eval()  # gives back None
    return network, path


def backbone(path, **nbn):
    init_cfg = None if path is None else dict(type='Pretrained', checkpoint=str(path))
    return dict(type='NBNBackbone', base='ResNet', init_cfg=init_cfg, nbn=nbn, **RESNET)


def run(tmp_path, path, **nbn):
    return tiny.runner(
        tmp_path, epochs=1, hooks=dict(nbn_start=dict(type='NBNStartHook')), model=dict(
            type='ImageClassifier', data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3),
            backbone=backbone(path, **nbn), neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=64, topk=(1, ))))


@pytest.mark.parametrize('nbn', [dict(), dict(init_magnitude=20.0), dict(init_magnitude='pretrained')])
def test_change_is_that_of_the_two_networks(pretrained, nbn):
    bn, path = pretrained
    network = build(**backbone(path, **nbn))
    network.init_weights()
    inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = change_of_outputs(network, inputs)
    network.eval()
    network.nbn.accept_missing_magnitude()
    with torch.no_grad():
        expected = [float((a - b).norm() / b.norm()) for a, b in zip(network(inputs), bn(inputs), strict=True)]
    assert found == pytest.approx(expected, abs=1e-6)
    assert found[:3] == [0, 0, 0], 'NBN stands in the last stage only'
    assert found[3] < 1e-5 if nbn.get('init_magnitude') == 'pretrained' else found[3] > 0.1


def test_logged_once_and_the_training_is_untouched(pretrained, tmp_path):
    states = []
    for name, hooked in (('with', True), ('without', False)):
        made = run(tmp_path / name, pretrained[1])
        if not hooked:
            made._hooks = [hook for hook in made.hooks if type(hook).__name__ != 'NBNStartHook']
        lines = tiny.messages(made)
        made.train()
        states.append([value.clone() for value in made.model.state_dict().values()])
        found = [line for line in lines if line.startswith('NBN in backbone')]
        assert len(found) == hooked
        if hooked:
            numbers = re.search(r'by (.*?) of their norm', found[0]).group(1).split(', ')
            assert [float(number) for number in numbers[:3]] == [0, 0, 0] and float(numbers[3]) > 0.1
            assert "init_magnitude='pretrained'" in found[0]
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


@pytest.mark.parametrize('nbn', [dict(), dict(init_magnitude='pretrained')])
def test_random_start_says_so(tmp_path, nbn):
    made = run(tmp_path, None, **nbn)
    lines = tiny.messages(made)
    made.train()
    assert [line for line in lines if line.startswith('NBN in backbone') and 'random start' in line]


@pytest.mark.parametrize('kind', [list, lambda images: dict(weak=images, strong=images)])
def test_several_views_are_not_compared(pretrained, tmp_path, monkeypatch, kind):
    """As the preprocessors of self- and semi-supervised learning give them; no reason to stop the training."""
    made = run(tmp_path, pretrained[1])
    preprocess = type(made.model.data_preprocessor).forward
    monkeypatch.setattr(type(made.model.data_preprocessor), 'forward', lambda self, data, training=False: dict(
        inputs=kind(preprocess(self, data, training)['inputs'])))
    lines = tiny.messages(made)
    made.model.init_weights()
    (hook, ) = [hook for hook in made.hooks if type(hook).__name__ == 'NBNStartHook']
    hook.before_train_iter(made, 0, next(iter(made.build_dataloader(made.cfg.train_dataloader))))
    assert [line for line in lines if line.startswith('NBN in backbone: a batch is not one tensor')]


def test_pretrained_start_changes_nothing(pretrained, tmp_path):
    made = run(tmp_path, pretrained[1], init_magnitude='pretrained')
    lines = tiny.messages(made)
    made.train()
    (line, ) = [line for line in lines if line.startswith('NBN in backbone')]
    numbers = re.search(r'by (.*?) of their norm', line).group(1).split(', ')
    assert max(map(float, numbers)) < 1e-5
    assert 'would equal' not in line


def test_checkpoint_with_its_magnitude_is_no_pretrained_network(pretrained, tmp_path):
    nbn = dict(init_magnitude='pretrained', learn_magnitude=False)
    network = build(**backbone(pretrained[1], **nbn))
    network.init_weights()
    torch.save(dict(state_dict=network.state_dict()), tmp_path / 'nbn.pth')
    made = run(tmp_path / 'run', tmp_path / 'nbn.pth', **nbn)
    lines = tiny.messages(made)
    made.train()
    (line, ) = [line for line in lines if line.startswith('NBN in backbone')]
    assert 'a checkpoint with its magnitude' in line


def test_layers_with_a_magnitude_of_their_own(pretrained, tmp_path):
    """norm_cfg=dict(type='NBN'): every norm is NBN, and every level changes."""
    cfg = run(tmp_path / 'a', pretrained[1]).cfg.model
    cfg.backbone = dict(type='ResNet', norm_cfg=dict(type='NBN'), init_cfg=cfg.backbone.init_cfg, **RESNET)
    made = tiny.runner(tmp_path / 'b', epochs=1, model=cfg, hooks=dict(nbn_start=dict(type='NBNStartHook')))
    lines = tiny.messages(made)
    made.train()
    (line, ) = [line for line in lines if 'changes the outputs' in line]
    numbers = re.search(r'by (.*?) of their norm', line).group(1).split(', ')
    assert len(numbers) == 4 and min(map(float, numbers)) > 0.1
