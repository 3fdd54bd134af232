import json
import re

import numpy as np
import pytest
import torch
from tool_process import ROOT, run_tool

from nbn_mm.engine.norm_weights import collect_norm_weights, nbn_vectors
from nbn_mm.evaluation.functional import class_hits, per_class_table, write_class_csv

MODEL = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['nbn_mm'], allow_failed_imports=False)
data_preprocessor = dict(num_classes=3)
model = dict(type='ImageClassifier',
             backbone=dict({backbone} depth=18, stem_channels=8, base_channels=8),
             neck=dict(type='GlobalAveragePooling'), head=dict(type='LinearClsHead', num_classes=3, in_channels=64))
"""
NBN_LAYERS = ['backbone.layer4.0.bn2', 'backbone.layer4.0.downsample.1', 'backbone.layer4.1.bn2']


def png(path):
    return path.read_bytes().startswith(b'\x89PNG')


def tool(name, *args, cwd):
    return run_tool(f'analysis_tools/{name}.py', *args, cwd=cwd)


def test_summarize_runs(tmp_path):
    run = tmp_path / 'nbn' / '20240101_000000' / 'vis_data'
    run.mkdir(parents=True)
    (run / '20240101_000000.json').write_text(
        '{"loss": 1.0, "step": 1}\n'
        '{"shot/all_top1": 50.0, "shot/few_top1": 10.0, "shot/hmean_top1": 10.0, "step": 2}\n')
    (tmp_path / 'ce.json').write_text('{"shot/all_top1": 40.0, "shot/many_top1": 41.0, "shot/hmean_top1": 41.0}')
    code, output = tool('summarize_runs', 'CE=ce.json', 'NBN=nbn', '--out', 'table.md', 'table.csv', cwd=tmp_path)
    assert code == 0, output
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in output.splitlines() if line.startswith('|')]
    assert cells[0] == ['Method', 'All', 'Many', 'Medium', 'Few', 'Harmonic mean']
    assert cells[2:] == [['CE', '40.00', '41.00', '–', '–', '41.00'], ['NBN', '50.00', '–', '–', '10.00', '10.00']]
    assert (tmp_path / 'table.md').read_text() in output
    assert (tmp_path / 'table.csv').read_text().splitlines()[1].startswith('CE,1,40.0000,')


@pytest.mark.parametrize('args, message', [
    (['CE=gone'], "'CE=gone': there is no file or folder 'gone'"),
    (['CE=.'], "no evaluation with 'shot/…' metrics in '.'"),
    (['CE=.', '--out', 'a.txt'], "'a.txt' must end in .md or .csv"),
])
def test_summarize_runs_refuses(tmp_path, args, message):
    code, output = tool('summarize_runs', *args, cwd=tmp_path)
    assert code == 1 and message in output and 'Traceback' not in output


def test_summarize_a_real_run(tmp_path, cls_config):
    """Train and evaluate with mmengine's Runner, then read what it wrote."""
    evaluator = "dict(type='ShotGroupMetric', topk=(1, ), few=5, per_class_csv='classes.csv')"
    config = tmp_path / 'tiny.py'
    config.write_text(cls_config.read_text() + f"\nval_evaluator = test_evaluator = {evaluator}\n"
                      "default_hooks['class_counts'] = dict(type='ClassCountsHook')\n")
    code, output = run_tool('train.py', config, '--work-dir', tmp_path / 'run', cwd=tmp_path)
    assert code == 0, output
    logged = re.findall(r'Epoch\(val\).*shot/all_top1: ([\d.]+)', output)
    code, output = tool('summarize_runs', 'CE=run', cwd=tmp_path)
    assert code == 0, output
    assert float(output.splitlines()[-1].split('|')[2]) == pytest.approx(float(logged[-1]), abs=0.01)
    code, output = tool('plot_class_accuracy', 'CE=classes.csv', '--few', '5', '--out', 'classes.png', cwd=tmp_path)
    assert code == 0 and png(tmp_path / 'classes.png'), output


def test_plot_class_accuracy(tmp_path):
    for name, ranks in (('ce', [0, 1, 0]), ('nbn', [0, 0, 0])):
        rows = per_class_table({1: class_hits(ranks, [0, 1, 1], 2)}, [500, 5], ['cat', 'dog'])
        write_class_csv(rows, tmp_path / f'{name}.csv')
    code, output = tool('plot_class_accuracy', 'CE=ce.csv', 'NBN=nbn.csv', '--out', 'a/b.png', cwd=tmp_path)
    assert code == 0 and png(tmp_path / 'a' / 'b.png'), output
    for args, message in ((['CE=ce.csv', '--out', 'a.gif'], "'a.gif' must end in .png"),
                          (['CE=ce.csv', '--topk', '5', '--out', 'a.png'], 'no column top5'),
                          (['CE=gone.csv', '--out', 'a.png'], "no file or folder 'gone.csv'")):
        code, output = tool('plot_class_accuracy', *args, cwd=tmp_path)
        assert code == 1 and message in output and 'Traceback' not in output


def save(path, backbone, with_config=True):
    """A checkpoint as mmengine saves it, with random norm weights; returns its model."""
    from mmengine.config import Config
    from mmengine.registry import MODELS, DefaultScope
    cfg = Config.fromstring(MODEL.replace('{backbone}', backbone), file_format='.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(data_preprocessor=cfg.data_preprocessor, **cfg.model))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and 'backbone' in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
        if name.endswith('magnitude'):
            parameter.data.fill_(3.0)
    torch.save(dict(meta=dict(cfg=cfg.pretty_text) if with_config else {}, state_dict=model.state_dict()), path)
    return model


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    pytest.importorskip('mmpretrain', reason='the networks are those of mmpretrain')
    root = tmp_path_factory.mktemp('checkpoints')
    models = dict(bn=save(root / 'bn.pth', "type='ResNet',"),
                  nbn=save(root / 'nbn.pth', "type='NBNBackbone', base='ResNet',"))
    save(root / 'bare.pth', "type='NBNBackbone', base='ResNet',", with_config=False)
    (root / 'text.pth').write_text('no checkpoint')
    return root, models


def test_effective_weights_of_checkpoints(checkpoints):
    root, models = checkpoints
    weights = collect_norm_weights([('BN', root / 'bn.pth'), ('NBN', root / 'nbn.pth')])
    assert list(weights) == ['BN', 'NBN']
    assert sorted(weights['NBN']) == sorted(weights['BN']) == NBN_LAYERS
    for layer in NBN_LAYERS:
        direction = models['nbn'].state_dict()[f'{layer}.weight'].double()
        expected = 3.0 * direction.abs() / (direction.square().sum().sqrt() + 1e-6)
        np.testing.assert_allclose(weights['NBN'][layer], expected, rtol=1e-5)
        plain = models['bn'].state_dict()[f'{layer}.weight'].abs()
        np.testing.assert_allclose(weights['BN'][layer], plain, rtol=1e-6)


def test_layers_by_expression(checkpoints):
    root, _ = checkpoints
    weights = collect_norm_weights([('NBN', root / 'nbn.pth'), ('BN', root / 'bn.pth')], layers=r'layer[34]\.1\.bn1$')
    assert list(weights['NBN']) == list(weights['BN']) == ['backbone.layer3.1.bn1', 'backbone.layer4.1.bn1']


@pytest.mark.parametrize('pairs, layers, message', [
    ([('BN', 'bn.pth')], None, r"holds an NBN layer.*layers='layer4'.*backbone\.bn1"),
    ([('BN', 'bn.pth')], 'layer9', "no norm layer of .* matches layers='layer9'"),
    ([('NBN', 'nbn.pth')], 'layer9', "no norm layer of .* matches layers='layer9'"),
    ([('BN', 'bn.pth')], '(', r"layers='\(' is no regular expression"),
    ([('A', 'bn.pth'), ('A', 'nbn.pth')], None, 'stands twice'),
    ([('NBN', 'bare.pth')], None, r'no config \(`meta\.cfg`\)'),
    ([('T', 'text.pth')], None, 'is no checkpoint'),
])
def test_weights_refused(checkpoints, pairs, layers, message):
    root, _ = checkpoints
    with pytest.raises(ValueError, match=message):
        collect_norm_weights([(name, root / path) for name, path in pairs], layers)


def test_checkpoint_of_another_config(checkpoints, tmp_path):
    root, models = checkpoints
    checkpoint = torch.load(root / 'nbn.pth', weights_only=False)
    checkpoint['meta']['cfg'] = checkpoint['meta']['cfg'].replace('depth=18', 'depth=34')
    torch.save(checkpoint, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='does not fit the config that it holds'):
        collect_norm_weights([('NBN', tmp_path / 'other.pth')])
    with pytest.raises(FileNotFoundError, match='no checkpoint'):
        collect_norm_weights([('NBN', tmp_path / 'gone.pth')])


def test_plot_nbn_weights(checkpoints, tmp_path):
    root, _ = checkpoints
    code, output = tool('plot_nbn_weights', f'BN={root}/bn.pth', f'NBN={root}/nbn.pth', '--relative', '--out', 'w.png',
                        cwd=tmp_path)
    assert code == 0 and png(tmp_path / 'w.png') and 'BN: 3 layers; NBN: 3 layers' in output, output
    code, output = tool('plot_nbn_weights', f'BN={root}/bn.pth', '--layers', 'layer9', '--out', 'x.png', cwd=tmp_path)
    assert code == 1 and "matches layers='layer9'" in output and 'Traceback' not in output


def test_what_directions_have_become(checkpoints, tmp_path):
    root, models = checkpoints
    found = nbn_vectors(root / 'nbn.pth')
    assert [each['layer'] for each in found] == NBN_LAYERS
    state = models['nbn'].state_dict()
    for each in found:
        weight, bias = (state[f'{each["layer"]}.{name}'].double().numpy() for name in ('weight', 'bias'))
        assert each['magnitude'] == 3.0
        assert each['weight_norm'] == pytest.approx(np.sqrt((weight**2).sum()), rel=1e-5)
        assert each['bias_norm'] == pytest.approx(np.sqrt((bias**2).sum()), rel=1e-5)
        assert each['effective_bias_norm'] == pytest.approx(3.0, rel=1e-5)
        assert each['spread'] == pytest.approx(weight.std(ddof=1) / abs(weight.mean()), rel=1e-4)
    code, output = tool('print_nbn', f'random={root}/nbn.pth', cwd=tmp_path)
    assert code == 0 and f'| random | {NBN_LAYERS[0]} | 3 | ' in output, output
    code, output = tool('print_nbn', f'BN={root}/bn.pth', cwd=tmp_path)
    assert code == 1 and 'holds no NBN magnitude' in output and 'Traceback' not in output


def test_print_class_groups(tmp_path, cls_config):
    code, output = tool('print_class_groups', cls_config, '--few', '6', cwd=tmp_path)
    assert code == 0, output
    assert '3 classes, 18 training images, imbalance factor 1.0' in output
    assert 'medium (6 to 100 images a class): 3 classes, 18 images' in output
    code, output = tool('print_class_groups', cls_config, '--json', cwd=tmp_path)
    report = json.loads(output[output.index('{'):])
    assert code == 0 and report['groups'] == {'few': dict(classes=3, images=18)}
    assert [row['class'] for row in report['classes']] == ['class_0', 'class_1', 'class_2']


def test_print_class_groups_refuses(tmp_path, cls_config):
    (tmp_path / 'empty.py').write_text('model = dict()\n')
    for args, message in ((['gone.py'], 'gone.py'), (['empty.py'], "'empty.py' has no train_dataloader"),
                          ([cls_config, '--few', '200'], 'few=200 and many=100 overlap')):
        code, output = tool('print_class_groups', *args, cwd=tmp_path)
        assert code == 1 and message in output and 'Traceback' not in output, output


def test_print_class_groups_of_the_demo(tmp_path):
    pytest.importorskip('sklearn', reason='Digits-LT is bundled with scikit-learn')
    pytest.importorskip('mmpretrain', reason='DigitsLT stands on mmpretrain')
    code, output = tool('print_class_groups', ROOT / 'configs/demo/resnet8_bn_ce_digits_lt.py', '--cfg-options',
                        'train_dataloader.dataset.imbalance_factor=1', cwd=tmp_path)
    assert code == 0 and '10 classes' in output and 'few ' not in output, output


def test_the_package_loads_the_figures_on_demand(tmp_path):
    """The process is forked from a server that has imported the package."""
    (tmp_path / 'check.py').write_text('import sys, nbn_mm; sys.exit("nbn_mm.visualization" in sys.modules)')
    assert run_tool(tmp_path / 'check.py', cwd=tmp_path)[0] == 0
