"""Checkpoints of the authors' format give the logits of the published network, derived from the paper's equations."""
import pytest
import torch
from mmengine.config import Config
from references import published_nbn as reference

from nbn_mm.engine.checkpoint_file import build_model
from nbn_mm.engine.published_checkpoint import convert_published, published_layers, rename_published

pytest.importorskip('mmpretrain', reason='the networks are classifiers of mmpretrain')
NORMS = dict(stem_channels=8, base_channels=8)
NBN = dict(type='NBNBackbone', nbn=dict(placement='paper', share='all'))
EXPERTS = dict(type='NBNBackbone', nbn=dict(placement='A', share=r'experts\.(\d+)\.'), base='MultiExpertBackbone',
               network='ResNet', num_experts=3)
RECTIFIED = dict(type='RectifiedPredictor')


def write(folder, backbone, predictor, state, channels=256, experts=0, prefix='module.'):
    head = dict(type='LongTailClsHead', num_classes=5, in_channels=channels, predictor=predictor)
    if experts:
        head.update(type='MultiExpertClsHead', num_experts=experts,
                    loss=dict(type='RIDELoss', base=dict(type='CrossEntropyLoss')))
    model = dict(type='ImageClassifier', backbone=dict(depth=50, **backbone) | NORMS,
                 neck=dict(type='GlobalAveragePooling'), head=head)
    cfg = Config(dict(default_scope='mmpretrain', custom_imports=dict(imports=['nbn_mm']), model=model))
    cfg.dump(folder / 'ours.py')
    torch.save(dict(epoch=90, arch='theirs', best_acc1=torch.tensor(50.), optimizer=dict(state={}),
                    state_dict={prefix + key: value for key, value in state.items()}), folder / 'theirs.pth')
    return [str(folder / name) for name in ('ours.py', 'theirs.pth', 'out.pth')]


def our_logits(folder, images):
    model = build_model(Config.fromfile(folder / 'ours.py')).eval()
    model.load_state_dict(torch.load(folder / 'out.pth', weights_only=True)['state_dict'])
    with torch.no_grad():
        return model.double()(images.double())


CASES = {
    'resnet50_nbn_lr': (dict(base='ResNet', **NBN), RECTIFIED, dict()),
    'resnext50_nbn': (dict(base='ResNeXt', groups=4, width_per_group=4, **NBN), dict(type='Linear'),
                      dict(groups=4, group_width=4, head='linear')),
    'resnet50_affine_bn_of_logits': (dict(base='ResNet', **NBN), dict(type='Linear'), dict(head='affine')),
    'resnet50_bn': (dict(type='ResNet'), dict(type='Linear'), dict(nbn=False, head='linear')),
    'ride_nbn_lr': (EXPERTS, RECTIFIED, dict(experts=3)),
    'ride_nbn_reduced': (dict(EXPERTS, reduce_dimension=True), dict(type='Linear'),
                         dict(experts=3, head='linear', reduced=True)),
    'ride_bn': (dict(type='MultiExpertBackbone', network='ResNet', num_experts=2), dict(type='Linear'),
                dict(experts=2, head='linear', nbn=False)),
}


@pytest.mark.parametrize('case', list(CASES))
@torch.no_grad()
def test_same_logits(case, tmp_path):
    backbone, predictor, options = CASES[case]
    state = reference.random_state(**options)
    files = write(tmp_path, backbone, predictor, state, 192 if options.get('reduced') else 256,
                  options.get('experts', 0), '' if case == 'resnext50_nbn' else 'module.')
    text = convert_published(*files)
    assert ('no NBN' in text) == (not options.get('nbn', True))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = reference.logits(state, images, options.get('groups', 1))
    atol = 1e-5 * float(expected.abs().max())
    torch.testing.assert_close(our_logits(tmp_path, images), expected, rtol=1e-5, atol=atol)


def test_the_magnitude_and_the_rectification_are_seen(tmp_path):
    """The reference is no bystander: another magnitude, or other statistics, give other logits."""
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    state = reference.random_state()
    before = reference.logits(state, images)
    for key in ('scale_factor', 'fc.bn.running_mean'):
        changed = dict(state, **{key: state[key] + 0.5})
        assert (reference.logits(changed, images) - before).abs().max() > 0.1
    unused = state['scale_factor'].clone()
    unused[1:] += 1
    assert torch.equal(reference.logits(dict(state, scale_factor=unused), images), before)


@pytest.mark.parametrize('backbone, predictor, options, message', [
    (dict(base='ResNet', **NBN), dict(type='Linear'), dict(),
     'tensors of the checkpoint are not in the model: head.fc.logit_rectification.*RectifiedPredictor'),
    (dict(type='ResNet'), RECTIFIED, dict(), 'of the checkpoint are not in the model: backbone.nbn.magnitude'),
    (dict(base='ResNet', **NBN), RECTIFIED, dict(nbn=False), 'of the model are not in the checkpoint: backbone.nbn'),
    (dict(base='ResNet', **NBN), RECTIFIED, dict(classes=4), r'have another shape: head.fc.weight \(4, 256\) for'),
    (dict(base='ResNet', type='NBNBackbone', nbn=dict(placement='A')), RECTIFIED, dict(),
     'places NBN elsewhere.*backbone.layer4.0.bn1'),
    (dict(base='ResNet', type='NBNBackbone', nbn=dict(norm_eps=1e-4)), RECTIFIED, dict(), 'norm_eps=0.0001'),
    (dict(base='ResNet', type='NBNBackbone', nbn=dict(zero_bias='smooth')), RECTIFIED, dict(), 'no smoothing'),
    (dict(base='ResNet', **NBN), dict(type='RectifiedPredictor', rectification=dict(eps=1e-3)), dict(), 'eps=0.001')])
def test_another_network_is_one_error(backbone, predictor, options, message, tmp_path):
    files = write(tmp_path, backbone, predictor, reference.random_state(**options))
    with pytest.raises(ValueError, match=message):
        convert_published(*files)
    assert not (tmp_path / 'out.pth').exists()


def test_bad_files(tmp_path):
    state = reference.random_state()
    files = write(tmp_path, dict(base='ResNet', **NBN), RECTIFIED, dict(state, **{'norm.weight': torch.ones(2)}))
    with pytest.raises(ValueError, match='1 keys are none of the published format: norm.weight'):
        convert_published(*files)
    with pytest.raises(ValueError, match='must end in .pth'):
        convert_published(files[0], files[1], 'out.bin')
    with pytest.raises(FileNotFoundError):
        convert_published(files[0], str(tmp_path / 'gone.pth'), files[2])
    with pytest.raises(ValueError, match=r'scale_factor has the shape \(\)'):
        rename_published(dict(state, scale_factor=torch.tensor(1.)))


def test_layers_of_basic_blocks():
    names = ['layer3.0.bn1', 'layer3.0.bn2', 'layer4.0.bn1', 'layer4.0.bn2', 'layer4.0.downsample.1', 'layer4.1.bn1',
             'layer4.1.bn2']
    state = {f'backbone.{name}.running_mean': torch.zeros(1) for name in names}
    assert published_layers(state, 0) == {f'backbone.layer4.{name}' for name in ('0.bn2', '0.downsample.1', '1.bn2')}
