"""tools/test.py, run for real with a config of either host."""

import json
import pickle
import re
import shutil

import pytest
import torch
from tool_process import run_tool


def _top1(output):
    return float(re.findall(r'accuracy/top1: (\S+)', output)[-1])


def test_metrics_file(cls_config, cls_run, tmp_path):
    code, output = run_tool(
        'test.py',
        cls_config,
        cls_run[0] / 'epoch_2.pth',
        '--work-dir',
        tmp_path,
        '--out',
        'metrics.json',
        '--out-item',
        'metrics',
        '--no-pin-memory',
        cwd=tmp_path,
    )
    assert code == 0, output
    assert json.loads((tmp_path / 'metrics.json').read_text())['accuracy/top1'] == pytest.approx(
        _top1(output), abs=1e-3
    )
    assert _top1(output) == _top1(cls_run[1]), 'the validation of the training run saw the same weights and images'


def test_predictions_file(cls_config, cls_run, tmp_path):
    code, output = run_tool(
        'test.py', cls_config, cls_run[0] / 'epoch_2.pth', '--work-dir', tmp_path, '--out', 'pred.pkl', cwd=tmp_path
    )
    assert code == 0, output
    predictions = pickle.loads((tmp_path / 'pred.pkl').read_bytes())
    assert len(predictions) == 18
    right = sum(int(p['pred_label']) == int(p['gt_label']) for p in predictions)
    assert 100 * right / 18 == pytest.approx(_top1(output), abs=1e-3)


def test_tta_and_amp(cls_config, cls_run, tmp_path):
    code, output = run_tool(
        'test.py',
        cls_config,
        cls_run[0] / 'epoch_2.pth',
        '--work-dir',
        tmp_path,
        '--tta',
        '--amp',
        '--cfg-options',
        'test_dataloader.batch_size=1',
        cwd=tmp_path,
    )
    assert code == 0, output
    assert 'accuracy/top1' in output


def test_drawing(cls_config, cls_run, tmp_path):
    """Every third of the 18 images."""
    code, output = run_tool(
        'test.py',
        cls_config,
        cls_run[0] / 'epoch_2.pth',
        '--work-dir',
        tmp_path,
        '--show-dir',
        tmp_path / 'drawn',
        '--interval',
        '3',
        cwd=tmp_path,
    )
    assert code == 0, output
    assert len(list((tmp_path / 'drawn').rglob('*.png'))) == 6


def test_training_set_is_not_needed(cls_config, cls_run, tmp_path, image_folder):
    config = tmp_path / 'elsewhere.py'
    config.write_text(
        cls_config.read_text() + "\ntrain_dataloader['dataset'] = dict(type='CustomDataset', "
        "data_root='gone', pipeline=[])\n"
    )
    code, output = run_tool('test.py', config, cls_run[0] / 'epoch_2.pth', '--work-dir', tmp_path, cwd=tmp_path)
    assert code == 0, output


def test_mmdet_dump_tta_and_drawing(det_config, det_run, tmp_path):
    code, output = run_tool(
        'test.py',
        det_config,
        det_run[0] / 'epoch_1.pth',
        '--work-dir',
        tmp_path,
        '--out',
        'det.pkl',
        '--show-dir',
        'drawn',
        '--wait-time',
        '0',
        cwd=tmp_path,
    )
    assert code == 0, output
    dumped = pickle.loads((tmp_path / 'det.pkl').read_bytes())
    assert len(dumped) == 4 and {'bboxes', 'labels', 'scores'} <= set(dumped[0]['pred_instances'])
    assert list(tmp_path.rglob('drawn/*.png')) or list(tmp_path.rglob('drawn/**/*.png'))
    assert 'coco/bbox_mAP' in output
    code, output = run_tool(
        'test.py',
        det_config,
        det_run[0] / 'epoch_1.pth',
        '--work-dir',
        tmp_path,
        '--tta',
        '--cfg-options',
        'test_dataloader.batch_size=1',
        cwd=tmp_path,
    )
    assert code == 0, output
    assert 'coco/bbox_mAP' in output


@pytest.mark.parametrize('option', [('--out-item', 'metrics'), ('--amp',), ('--interval', '1'), ('--no-pin-memory',)])
def test_options_of_mmpretrain_are_refused_for_mmdet(det_config, det_run, tmp_path, option):
    code, output = run_tool('test.py', det_config, det_run[0] / 'epoch_1.pth', *option, cwd=tmp_path)
    assert code == 1
    assert re.search(
        rf"error: {option[0]} is no option of mmdet's test tool \(it is an option of mmpretrain\), and "
        r"default_scope='mmdet'",
        output,
    )


def test_checkpoint_of_another_architecture(cls_config, cls_run, tmp_path):
    code, output = run_tool(
        'test.py',
        cls_config,
        cls_run[0] / 'epoch_2.pth',
        '--cfg-options',
        'model.backbone.depth=34',
        'model.head.num_classes=4',
        cwd=tmp_path,
    )
    assert code == 1
    assert 'RuntimeError: The checkpoint is of another model' in output
    assert re.search(r'\d+ missing: backbone\.layer1\.2\.conv1\.weight, ', output)
    assert re.search(
        r'2 mismatched: head\.fc\.weight \(checkpoint torch\.Size\(\[3, 64\]\), model '
        r'torch\.Size\(\[4, 64\]\)\)',
        output,
    )
    assert 'Epoch(test)' not in output and 'accuracy/top1' not in output


def test_bare_state_dict_with_module_prefix(cls_config, cls_run, tmp_path):
    """A bare state dict, saved from a wrapped model, loads as mmengine loads it."""
    state = torch.load(cls_run[0] / 'epoch_2.pth', weights_only=False)['state_dict']
    torch.save({f'module.{key}': value for key, value in state.items()}, tmp_path / 'bare.pth')
    code, output = run_tool('test.py', cls_config, tmp_path / 'bare.pth', '--work-dir', tmp_path, cwd=tmp_path)
    assert code == 0, output
    assert _top1(output) == _top1(cls_run[1])


def test_moved_work_dir_resumes(cls_config, cls_run, tmp_path):
    """last_checkpoint names the old folder; the checkpoint beside it is taken."""
    moved = tmp_path / 'moved'
    shutil.copytree(cls_run[0], moved)
    (moved / 'last_checkpoint').write_text('/nowhere/epoch_1.pth')
    code, output = run_tool('train.py', cls_config, '--work-dir', moved, '--resume', '--no-validate', cwd=tmp_path)
    assert code == 0, output
    assert f'--resume: continuing from {moved}/epoch_1.pth' in output
