"""The tools of post-hoc calibration and of published checkpoints, run as a user does."""
import csv
import json

import pytest
import torch
from mmengine.config import Config
from references import published_nbn
from tool_process import run_tool

from nbn_mm.evaluation.functional.saved_logits import read_logits

pytest.importorskip('mmpretrain', reason='the tools work on its classifiers')


@pytest.fixture(scope='module')
def logits(cls_config, cls_run, tmp_path_factory):
    """Logits of the training and of the test set (the same images), saved by the tool."""
    folder = tmp_path_factory.mktemp('logits')
    for split in ('train', 'test'):
        code, output = run_tool('analysis_tools/save_logits.py', cls_config, cls_run[0] / 'epoch_2.pth', '--split',
                                split, '--out', folder / f'{split}.npz', '--work-dir', folder / 'log', cwd=folder)
        assert code == 0, output
        assert f'18 images of the {split} set, 3 classes, with a linear classifier' in output
    return folder


def test_table_of_methods(logits):
    saved = read_logits(logits / 'test.npz')
    assert saved.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6 and saved.counts.tolist() == [6, 6, 6]
    assert (saved.logits == read_logits(logits / 'train.npz').logits).all()
    code, output = run_tool(
        'analysis_tools/posthoc.py', 'test.npz', '--method', 'logit_adjustment', 'logn', 'tau_norm', 'iif', '--tau',
        '0.5', '1', '--train', 'train.npz', '--few', '5', '--many', '5', '--out', 'a/t.csv', 'a/t.json', 'a/t.md',
        cwd=logits)
    assert code == 0, output
    table = [line for line in output.splitlines() if line.startswith('|')]
    assert [line.split('|')[1].strip() for line in table[2:]] == [
        'as trained', 'logit_adjustment, tau 0.5', 'logit_adjustment, tau 1', 'logn', 'tau_norm, tau 0.5',
        'tau_norm, tau 1', 'iif']
    assert 'change no ranking on this network: logit_adjustment, tau 0.5; logit_adjustment, tau 1; iif.' in output
    accuracy = 100 * (saved.logits.argmax(1) == saved.labels).mean()
    rows = json.loads((logits / 'a/t.json').read_text())
    assert rows[0]['all'] == pytest.approx(accuracy) and rows[0]['few'] is None
    with (logits / 'a/t.csv').open() as file:
        assert [row['method'] for row in csv.DictReader(file)] == [row['method'] for row in rows]
    assert (logits / 'a/t.md').read_text().splitlines() == table


@pytest.mark.parametrize('args, message', [
    (['gone.npz'], "no file of logits 'gone.npz'"), (['test.npz', '--method', 'logn'], '--split train'),
    (['test.npz', '--method', 'logn', '--train', 'test.npz'], 'are those of the test set'),
    (['test.npz', '--tau', '-1'], 'tau=-1.0 must be a number'), (['test.npz', '--out', 't.txt'], "must end in one of")])
def test_table_refuses(logits, args, message):
    code, output = run_tool('analysis_tools/posthoc.py', *args, cwd=logits)
    assert code == 1 and message in output and 'Traceback' not in output


def test_calibrated_checkpoint_in_a_test(cls_config, cls_run, tmp_path):
    """tools/test.py on the written checkpoint and config finds the accuracy that the calibrated logits have."""
    code, output = run_tool('model_converters/posthoc_checkpoint.py', cls_config, cls_run[0] / 'epoch_2.pth',
                            tmp_path / 'out.pth', '--method', 'tau_norm', '--tau', '2', cwd=tmp_path)
    assert code == 0 and 'head.fc: tau_norm is now part of its weight and bias.' in output, output
    files = cls_run[0] / 'epoch_2.pth', tmp_path / 'out.pth'
    head = [torch.load(path, weights_only=False)['state_dict'] for path in files]
    norm = head[0]['head.fc.weight'].norm(dim=1, keepdim=True)
    torch.testing.assert_close(head[1]['head.fc.weight'], head[0]['head.fc.weight'] / norm**2)
    assert head[1]['head.fc.bias'].abs().max() < 1e-6
    code, output = run_tool('test.py', tmp_path / 'out.py', tmp_path / 'out.pth', '--work-dir', tmp_path / 'test',
                            cwd=tmp_path)
    assert code == 0 and 'accuracy/top1' in output, output
    code, output = run_tool('model_converters/posthoc_checkpoint.py', tmp_path / 'out.py', tmp_path / 'out.pth',
                            tmp_path / 'again.pth', '--method', 'iif', cwd=tmp_path)
    assert code == 1 and 'calibrated already, by tau_norm, tau 2' in output and 'Traceback' not in output


def test_published_checkpoint(tmp_path):
    backbone = dict(type='NBNBackbone', base='ResNet', depth=50, stem_channels=8, base_channels=8, nbn=dict())
    head = dict(type='LongTailClsHead', num_classes=5, in_channels=256, predictor=dict(type='RectifiedPredictor'))
    Config(dict(default_scope='mmpretrain', custom_imports=dict(imports=['nbn_mm']), model=dict(
        type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head))).dump(
            tmp_path / 'ours.py')
    state = published_nbn.random_state()
    tool, prefixed = 'model_converters/convert_published_nbn.py', {f'module.{key}': state[key] for key in state}
    torch.save(dict(epoch=90, state_dict=prefixed), tmp_path / 'theirs.pth')
    code, output = run_tool(tool, 'ours.py', 'theirs.pth', 'out.pth', cwd=tmp_path)
    assert code == 0 and f"magnitude {float(state['scale_factor'][0]):.4g}, logit rectification." in output, output
    del state['fc.bn.running_var']
    torch.save(dict(state_dict=state), tmp_path / 'theirs.pth')
    code, output = run_tool(tool, 'ours.py', 'theirs.pth', 'no.pth', cwd=tmp_path)
    assert code == 1 and 'not in the checkpoint: head.fc.logit_rectification.running_var' in output
    assert 'Traceback' not in output
