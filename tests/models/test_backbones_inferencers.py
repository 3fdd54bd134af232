"""The hosts' own inferencers and model getters build the network with NBN from the config alone."""
from pathlib import Path

import pytest
import torch

from nbn_mm.models.layers import NBN
from nbn_mm.utils.hosts import host_error

PLACED = ['layer4.0.bn2', 'layer4.0.downsample.1', 'layer4.1.bn2']


def write_config(folder, package, base, model):
    """A stock config of a host and the lines that make it an NBN one."""
    path = Path(package.__file__).parent / '.mim' / 'configs' / base
    if not path.is_file():
        pytest.skip(f'this installation of {package.__name__} carries no configs')
    config = folder / 'nbn.py'
    config.write_text(f"_base_ = {str(path)!r}\ncustom_imports = dict(imports=['nbn_mm'])\nmodel = {model!r}\n")
    return str(config)


def save(model, folder):
    """Save the model with a magnitude that no start gives."""
    with torch.no_grad():
        model.backbone.nbn.magnitude.fill_(2.5)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=['thing'] * 80))),
               folder / 'trained.pth')
    return str(folder / 'trained.pth')


def check(model):
    assert [name for name, module in model.backbone.named_modules() if isinstance(module, NBN)] == PLACED
    assert float(model.backbone.nbn.magnitude) == 2.5
    assert torch.allclose(model.backbone.layer4[0].bn2.weight.norm(), torch.tensor(2.5))


def test_classification(tmp_path):
    if host_error('mmpretrain') is not None:
        pytest.skip('mmpretrain does not import')
    import mmpretrain
    config = write_config(tmp_path, mmpretrain, 'resnet/resnet18_8xb32_in1k.py',
                          dict(backbone=dict(type='NBNBackbone', base='ResNet')))
    weights = save(mmpretrain.get_model(config), tmp_path)
    check(mmpretrain.get_model(config, pretrained=weights))
    check(mmpretrain.ImageClassificationInferencer(config, pretrained=weights, device='cpu').model)


def test_detection(tmp_path):
    if host_error('mmdet') is not None:
        pytest.skip('mmdet does not import')
    import mmdet
    from mmdet.apis import DetInferencer, init_detector
    config = write_config(
        tmp_path, mmdet, 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        dict(backbone=dict(type='NBNBackbone', base='ResNet', depth=18, init_cfg=None),
             neck=dict(in_channels=[64, 128, 256, 512])))
    weights = save(init_detector(config, device='cpu', palette='random'), tmp_path)
    check(init_detector(config, weights, device='cpu', palette='random'))
    check(DetInferencer(config, weights, device='cpu', palette='random').model)
