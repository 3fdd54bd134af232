"""Mask R-CNN with NBN and Seesaw from config files alone: trained, tested and drawn on a generated set."""
import csv
import json
import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from tool_process import ROOT, run_tool

pytest.importorskip('mmdet', reason='detection needs mmdet')

from nbn_mm.datasets.shapes_lvis import make_shapes_lvis  # noqa: E402

CONFIG = """
_base_ = {base!r}
train_dataloader = dict(dataset=dict(data_root={data!r}))
val_dataloader = dict(dataset=dict(data_root={data!r}))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={data!r} + '/annotations/val.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=10, val_interval=10)
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20)]
"""


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """40 training and 10 validation pictures of 9 classes."""
    root = tmp_path_factory.mktemp('lvis') / 'shapes'
    make_shapes_lvis(root, num_train=40, num_val=10)
    return root


@pytest.fixture(scope='module')
def write_config(tmp_path_factory, shapes):
    """Writes a config that stands on a leaf of configs/demo and reads the shapes."""
    folder = tmp_path_factory.mktemp('lvis_configs')

    def write(name, leaf='mask_rcnn_r18_nbn_seesaw_shapes_lvis', more=''):
        path = folder / f'{name}.py'
        base = str(ROOT / 'configs/demo' / f'{leaf}.py')
        path.write_text(CONFIG.replace('{base!r}', repr(base)).replace('{data!r}', repr(str(shapes))) + more)
        return path

    return write


@pytest.fixture(scope='module')
def config(write_config):
    return write_config('nbn_seesaw')


@pytest.fixture(scope='module')
def run(tmp_path_factory, config):
    """Work dir of a finished training, and what it printed."""
    work_dir = tmp_path_factory.mktemp('lvis_run')
    code, output = run_tool('train.py', config, '--work-dir', work_dir, cwd=work_dir)
    assert code == 0, output
    return work_dir, output


def _scalars(work_dir):
    """Every line of the JSON log."""
    return [json.loads(line) for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
            for line in path.read_text().splitlines()]


def _metrics(work_dir):
    """Metrics of a test, unrounded, from the JSON that it writes."""
    (path, ) = work_dir.glob('*/*.json')
    return {key: value for key, value in json.loads(path.read_text()).items() if key.startswith('lvis/')}


@pytest.fixture(scope='module')
def tested(tmp_path_factory, config, run):
    """tools/test.py with everything that can be asked for: its work dir, metrics and output."""
    work_dir = tmp_path_factory.mktemp('lvis_test')
    code, output = run_tool(
        'test.py', config, run[0] / 'epoch_10.pth', '--work-dir', work_dir, '--cfg-options',
        f'test_evaluator.per_class_csv={work_dir}/classes.csv', f'test_evaluator.outfile_prefix={work_dir}/results',
        'test_evaluator.frequency_by_size=True', cwd=work_dir)
    assert code == 0, output
    return work_dir, _metrics(work_dir), output


def test_the_loss_falls_and_pictures_are_learnt(run):
    losses = [line['loss'] for line in _scalars(run[0]) if 'loss' in line]
    assert losses[-1] < 0.5 * losses[0], losses
    (validation, ) = [line for line in _scalars(run[0]) if 'lvis/bbox_AP' in line]
    assert validation['lvis/bbox_AP50'] > 0.3 and validation['lvis/segm_AP50'] > 0.3


def test_the_start_is_logged(run):
    assert re.search(r'Class counts from the training set: 9 classes, 40 images, \d+ instances', run[1])
    assert 'NBN in backbone: no BN weights were loaded' in run[1]


def test_test_gives_what_training_gave(run, tested):
    (validation, ) = [line for line in _scalars(run[0]) if 'lvis/bbox_AP' in line]
    metrics = tested[1]
    assert {f'lvis/{kind}_AP{group}' for kind in ('bbox', 'segm') for group in ('', '50', '75', 's', 'm', 'r', 'c', 'f')
            } <= set(metrics)
    for key, value in metrics.items():
        assert validation.get(key, value) == pytest.approx(value, abs=1e-9), key
    assert any(round(value, 3) != value for value in metrics.values()), 'unrounded'


def test_table_names_groups_and_sizes(tested):
    work_dir, metrics, output = tested
    header = next(line for line in output.splitlines() if re.search(r'\bAP50\b.*\bAPr\b', line))
    assert [name for name in re.findall(r'AP\w*', header)] == [
        'AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APc', 'APf']
    for kind, key in (('box', 'bbox'), ('mask', 'segm')):
        row = next(line for line in output.splitlines() if re.match(rf'\W*{kind}\b', line))
        assert f"{100 * metrics[f'lvis/{key}_AP']:.1f}" in row and f"{100 * metrics[f'lvis/{key}_APr']:.1f}" in row


def test_per_class_csv_has_counts(shapes, tested):
    categories = json.loads((shapes / 'annotations/train.json').read_text())['categories']
    with open(tested[0] / 'classes.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['class'] for row in rows] == [category['name'] for category in categories]
    assert [int(row['train_images']) for row in rows] == [category['image_count'] for category in categories]
    assert [row['frequency'] for row in rows] == [category['frequency'] for category in categories]


def test_official_package_agrees_on_the_result_files(shapes, tested, monkeypatch):
    """The files for the evaluation server, read and judged by the official package."""
    from lvis import LVIS, LVISEval, LVISResults

    monkeypatch.setattr(np, 'float', float, raising=False)  # it calls np.float, which NumPy has no more
    truth = LVIS(str(shapes / 'annotations/val.json'))
    for kind in ('bbox', 'segm'):
        (path, ) = tested[0].glob(f'results*{kind}.json')
        judge = LVISEval(truth, LVISResults(truth, str(path)), kind)
        judge.run()
        for name in ('AP', 'AP50', 'APr', 'APc', 'APf'):
            assert tested[1][f'lvis/{kind}_{name}'] == pytest.approx(judge.results[name], abs=1e-12)


def test_pictures_are_drawn_with_own_names(shapes, config, run, tmp_path):
    code, output = run_tool('infer.py', config, run[0] / 'epoch_10.pth', shapes / 'val', '--out-dir', tmp_path / 'out',
                            '--save-predictions', cwd=tmp_path)
    assert code == 0, output
    drawn = sorted((tmp_path / 'out/vis').iterdir())
    assert len(drawn) == len(list((shapes / 'val').iterdir())) == 10
    different = [not np.array_equal(cv2.imread(str(path)), cv2.imread(str(shapes / 'val' / path.name)))
                 for path in drawn]
    assert any(different)
    names = [category['name'] for category in json.loads((shapes / 'annotations/val.json').read_text())['categories']]
    meta = torch.load(run[0] / 'epoch_10.pth', weights_only=False)['meta']
    assert list(meta['dataset_meta']['classes']) == names == meta['class_counts']['classes']


def test_two_processes(config, shapes, tmp_path):
    """tools/dist_train.sh as a user types it; the images are shared out, the metrics are those of all."""
    process = subprocess.run(
        ['bash', str(ROOT / 'tools/dist_train.sh'), str(config), '2', '--work-dir', str(tmp_path), '--cfg-options',
         'train_cfg.max_epochs=2', 'train_cfg.val_interval=2', 'model.backbone.nbn.sync=True'],
        env={**os.environ, 'PYTHON': sys.executable, 'CUDA_VISIBLE_DEVICES': '-1', 'PYTHONPATH': str(ROOT),
             'OMP_NUM_THREADS': '1'},
        cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert process.returncode == 0, process.stdout + process.stderr
    scalars = _scalars(tmp_path)
    assert any('lvis/segm_AP' in line for line in scalars)
    assert max(line['step'] for line in scalars if 'loss' in line) == 20, '40 images, 4 a step, 2 epochs'
    # With statistics of their own, each rank would have judged its images by a slightly different network.
    code, output = run_tool('test.py', config, tmp_path / 'epoch_2.pth', '--work-dir', tmp_path / 'test',
                            '--cfg-options', 'model.backbone.nbn.sync=True', cwd=tmp_path)
    assert code == 0, output
    (validation, ) = [line for line in scalars if 'lvis/bbox_AP' in line]
    for key, value in _metrics(tmp_path / 'test').items():
        assert validation[key] == pytest.approx(value, abs=1e-6), key


BAD = {
    'classes': ('model.roi_head.bbox_head.num_classes=8', ['num_classes', '8', '9']),
    'mask_classes': ('model.roi_head.mask_head.num_classes=8 model.roi_head.mask_head.class_agnostic=False',
                     ['mask_head', '8', '9']),
    'seesaw': ('model.roi_head.bbox_head.loss_cls.num_classes=7', ['loss_cls', '7', '9']),
    'all_classes': ('model.roi_head.bbox_head.num_classes=8 model.roi_head.bbox_head.loss_cls.num_classes=8 '
                    'model.roi_head.mask_head.num_classes=8', ['num_classes=8', '9 classes']),
    'annotations': ('train_dataloader.dataset.ann_file=nowhere.json', ['nowhere.json']),
    'images': ('train_dataloader.dataset.data_prefix.img=elsewhere', ['elsewhere']),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_config_is_one_clear_error(name, config, tmp_path):
    option, words = BAD[name]
    code, output = run_tool('train.py', config, '--work-dir', tmp_path, '--cfg-options', *option.split(),
                            cwd=tmp_path)
    assert code != 0
    assert 'Epoch(train)' not in output, 'before training'
    last = output.rstrip().splitlines()[-1]
    for word in words:
        assert word in last, last


def test_loss_that_is_not_finite_stops_the_run(config, tmp_path):
    code, output = run_tool('train.py', config, '--work-dir', tmp_path, '--cfg-options',
                            'optim_wrapper.optimizer.lr=1e12', 'optim_wrapper.optimizer.type=SGD', cwd=tmp_path)
    assert code != 0
    last = output.rstrip().splitlines()[-1]
    assert 'iteration' in last and 'checkpoint' in last, last


@pytest.mark.parametrize('saved, asked, word', [
    ('nbn', 'bn', 'holds the NBN magnitude'), ('bn', 'nbn', 'but the checkpoint holds none')])
def test_checkpoint_of_the_other_norm_is_refused(saved, asked, word, write_config, run, tmp_path):
    asked_config = write_config(f'asked_{asked}', f'mask_rcnn_r18_{asked}_seesaw_shapes_lvis')
    checkpoint = run[0] / 'epoch_10.pth'
    if saved == 'bn':
        content = torch.load(checkpoint, weights_only=False)
        del content['state_dict']['backbone.nbn.magnitude']
        checkpoint = tmp_path / 'bn.pth'
        torch.save(content, checkpoint)
    code, output = run_tool('test.py', asked_config, checkpoint, '--work-dir', tmp_path, cwd=tmp_path)
    assert code != 0 and word in output, output
    code, output = run_tool('infer.py', asked_config, checkpoint, ROOT / 'docs/images', '--out-dir', tmp_path / 'out',
                            cwd=tmp_path)
    assert code != 0 and word in output.splitlines()[-1], output
