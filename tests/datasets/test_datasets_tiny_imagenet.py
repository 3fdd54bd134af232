"""Tiny-ImageNet-LT's data sets equal those of mmpretrain's CustomDataset, image by image and on the device."""
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import imagenet_lt

pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')
from mmengine.config import Config  # noqa: E402
from mmpretrain.registry import DATASETS  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT / 'data/tiny_imagenet_lt'


def tiny_imagenet(root):
    """The lists and the file of classes of Tiny-ImageNet-LT over images of one size."""
    imagenet_lt(root)
    for split in ('train', 'test'):
        (root / f'ImageNet_LT_{split}.txt').rename(root / f'TinyImageNet_LT_{split}.txt')
    (root / 'classes.txt').write_text('n01440\ttench\nn01441\tgoldfish\nn01442\tshark\n')
    return root


def both(root, split, **kwargs):
    """The set as the configs have it, and as mmpretrain has it."""
    loader = Config.fromfile(ROOT / 'configs/_base_/datasets/tiny_imagenet_lt.py')[f'{split}_dataloader']
    ours = dict(loader.dataset.dataset, data_root=str(root), classes=str(root / 'classes.txt'), **kwargs)
    host = {key: value for key, value in ours.items() if key not in ('classes', 'check_exists')}
    names = [line.split('\t')[0] for line in (root / 'classes.txt').read_text().splitlines()]
    return ours, dict(host, type='CustomDataset', classes=names)


def equal_infos(ours, host):
    infos = [[(info['img_path'], info['gt_label']) for info in map(data.get_data_info, range(len(data)))]
             for data in (ours, host)]
    assert infos[0] == infos[1]
    assert list(ours.metainfo['classes']) == list(host.metainfo['classes'])


@pytest.mark.parametrize('split', ['train', 'test'])
def test_generated_files(tmp_path, split):
    configs = both(tiny_imagenet(tmp_path), split)
    ours, host = (DATASETS.build(cfg) for cfg in configs)
    equal_infos(ours, host)
    device = [DATASETS.build(dict(type='DeviceDataset', dataset=cfg, pipeline=[dict(type='PackInputs')], device='cpu'))
              for cfg in configs]
    for data in device:
        data.start(0, 0)
    batches = [data.__getitems__(list(range(len(ours)))) for data in device]
    assert torch.equal(batches[0]['inputs'], batches[1]['inputs']) and len(batches[0]['inputs']) == len(ours)
    for index in range(len(ours)):
        assert np.array_equal(ours[index]['img'], host[index]['img'])
        assert np.array_equal(batches[0]['inputs'][index].permute(1, 2, 0).numpy(), ours[index]['img'])
        samples = [batch['data_samples'][index].gt_label.item() for batch in batches]
        assert samples == [ours.get_data_info(index)['gt_label']] * 2


@pytest.mark.skipif(not (REAL / 'classes.txt').is_file(), reason='data/tiny_imagenet_lt is not there')
@pytest.mark.parametrize(('split', 'number'), [('train', 21549), ('test', 10000)])
def test_real_files(split, number):
    ours, host = (DATASETS.build(cfg) for cfg in both(REAL, split))
    assert len(ours) == number
    equal_infos(ours, host)
    for index in range(0, number, 2000):
        assert np.array_equal(ours[index]['img'], host[index]['img'])
