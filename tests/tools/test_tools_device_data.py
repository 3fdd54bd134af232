"""tools/train.py and tools/test.py with a data set on the device: in two processes, and beside image by image."""
import json
import pickle
import re
import socket

import numpy as np
import pytest
from tool_process import Tool, run_tool

ON_DEVICE = """
custom_imports['imports'] = ['nbn_mm', 'batch_log']
data_preprocessor['type'] = 'BatchClsDataPreprocessor'
model['head'] = dict(type='LongTailClsHead', num_classes=3, in_channels=64, loss=dict(type='CrossEntropyLoss'))
inner = dict(type='CustomDataset', data_root={data!r}, pipeline=[dict(type='LoadImageFromFile')])
crop = [dict(type='RandomCrop', crop_size=32, padding=4), dict(type='PackInputs')]
global_batch_size = 6
train_dataloader.update(dataset=dict(type='DeviceDataset', dataset=inner, pipeline=crop))
test_set = dict(type='DeviceDataset', dataset=inner, pipeline=crop[1:])
test_dataloader = val_dataloader = dict(val_dataloader, dataset=test_set)
val_evaluator = test_evaluator = dict(type='BatchEvaluator', metrics=[
    dict(type='Accuracy', topk=(1, )), dict(type='ShotGroupMetric', topk=(1, ), few=7, many=100)])
default_hooks.update(
    device_data=dict(type='DeviceDataHook'), class_counts=dict(type='ClassCountsHook'),
    runtime_info=dict(type='DeferredRuntimeInfoHook'))
custom_hooks = [dict(type='BatchLogHook')]
"""
BY_IMAGE = """
inner['pipeline'].append(dict(type='PackInputs'))
test_dataloader['dataset'] = inner
"""
BATCH_LOG = """
import json
import os

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class BatchLogHook(Hook):

    def before_train(self, runner):
        self.steps = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.steps.append(list(data_batch['data_samples'].indices))

    def after_train(self, runner):
        with open(os.path.join(runner.work_dir, f'rank_{runner.rank}.json'), 'w') as file:
            json.dump(self.steps, file)
"""


@pytest.fixture(scope='module')
def configs(tmp_path_factory, cls_config, image_folder):
    folder = tmp_path_factory.mktemp('device')
    (folder / 'batch_log.py').write_text(BATCH_LOG)
    text = cls_config.read_text() + ON_DEVICE.replace('{data!r}', repr(str(image_folder)))
    (folder / 'device.py').write_text(text)
    (folder / 'by_image.py').write_text(text + BY_IMAGE)
    return folder


@pytest.fixture(scope='module')
def trained(tmp_path_factory, configs):
    """Two processes over gloo."""
    work_dir = tmp_path_factory.mktemp('trained')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    ranks = [Tool('train.py', [configs / 'device.py', '--work-dir', work_dir, '--launcher', 'pytorch'], work_dir,
                  dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', LOCAL_WORLD_SIZE='2',
                       MASTER_ADDR='127.0.0.1', MASTER_PORT=port, CUDA_VISIBLE_DEVICES='-1'), [str(configs)])
             for rank in range(2)]
    for rank in ranks:
        code, output = rank.wait()
        assert code == 0, output
    return work_dir


def run_test(configs, trained, name, tmp_path, *args):
    code, output = run_tool('test.py', configs / f'{name}.py', trained / 'epoch_2.pth', '--work-dir', tmp_path / name,
                            *args, cwd=tmp_path, path=[str(configs)])
    assert code == 0, output
    return output


def test_two_processes_share_a_batch(trained):
    """Disjoint images, each rank with its share of the 6, and every image once an epoch."""
    logs = [json.loads((trained / f'rank_{rank}.json').read_text()) for rank in range(2)]
    assert [len(log) for log in logs] == [6, 6]
    for one, two in zip(*logs, strict=True):
        assert len(one) == len(two) == 3 and not set(one) & set(two)
    for epoch in (slice(0, 3), slice(3, 6)):
        assert sorted(sum((indices for log in logs for indices in log[epoch]), [])) == list(range(18))


def test_tests_equal_those_image_by_image(configs, trained, tmp_path):
    predictions, metrics = [], []
    for name in ('device', 'by_image'):
        output = run_test(configs, trained, name, tmp_path, '--out', f'{name}.pkl')
        predictions.append(pickle.loads((tmp_path / f'{name}.pkl').read_bytes()))
        metrics.append(dict(re.findall(r'(\w+/\w+): (\S+)', output.splitlines()[-1])))
    assert metrics[0] == metrics[1] and {'accuracy/top1', 'shot/all_top1', 'shot/few_top1'} <= metrics[0].keys()
    for one, two in zip(*predictions, strict=True):
        for key in ('gt_label', 'pred_label', 'pred_score'):
            assert np.array_equal(one[key], two[key])
        assert one['img_path'] == two['img_path'] and one['sample_idx'] == two['sample_idx']


def test_pictures_and_test_time_augmentation(configs, trained, tmp_path):
    run_test(configs, trained, 'device', tmp_path, '--show-dir', tmp_path / 'shown', '--interval', '9')
    assert len(list((tmp_path / 'shown').rglob('*.png'))) == 2
    assert 'accuracy/top1' in run_test(configs, trained, 'device', tmp_path, '--tta')


def test_single_pictures(configs, trained, image_folder, tmp_path):
    """The host's inferencer takes its pipeline from the test set's, which is that of single images."""
    code, output = run_tool('infer.py', configs / 'device.py', trained / 'epoch_2.pth', image_folder / 'class_0',
                            '--out-dir', 'drawn', '--device', 'cpu', cwd=tmp_path, path=[str(configs)])
    assert code == 0, output
    assert len(list((tmp_path / 'drawn').rglob('*.png'))) == 6


def test_workers_are_refused_in_one_line(configs, tmp_path):
    code, output = run_tool('train.py', configs / 'device.py', '--cfg-options', 'train_dataloader.num_workers=2',
                            cwd=tmp_path, path=[str(configs)])
    assert code == 1 and output.startswith('error: train_dataloader.num_workers=2: ')
