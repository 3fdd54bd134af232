import argparse
import json
from pathlib import Path

import pytest
from mmengine.config import Config, DictAction
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, init_default_scope

from nbn_mm.reproduction.tables import FOLDER, load_table, published_figure, table_names

ROOT = Path(__file__).resolve().parents[2]
# arguments that the data sets take and the configs leave at their defaults
TAKEN = ('train_dataloader.dataset.dataset.subset', )


@pytest.mark.parametrize('name', table_names())
def test_tables_of_the_package_name_configs_that_exist(name):
    table = load_table(name)
    assert table.rows and table.title
    for row in table.rows:
        assert (ROOT / row.config).is_file(), row.config
        assert row.seeds == tuple(sorted(set(row.seeds)))
        assert row.imbalance_factor in (None, 100) or Path(row.config).stem.endswith(f'_ir{row.imbalance_factor}')
        assert '_ir' not in row.config or row.config.endswith(f'_ir{row.imbalance_factor}.py')
        if row.after is not None:
            before = Config.fromfile(ROOT / row.config).load_from
            assert Path(before).parent.name == Path(table.row(row.after).config).stem
    for entry in json.loads((FOLDER / f'{name}.json').read_text())['rows']:
        if 'published' in entry:
            assert entry['published']['setting'] == f'imbalance_factor={entry["imbalance_factor"]}'
            assert f'_{entry["published"]["dataset"]}' in entry['config']


def test_published_figures_are_those_of_the_paper():
    figures = {row.name: row.published for row in load_table('table1-cifar10').rows}
    assert figures['bn_ce'] == 78.0 and figures['nbn_lr_bsl_ir200'] == 80.2 and figures['nbn_lr_ce_ir50'] == 86.3
    assert published_figure('II', 'RIDE + Ours', 'imagenet_lt', metric='top1_few') == 36.7


def test_a_figure_that_is_not_printed_is_an_error():
    with pytest.raises(ValueError, match='no figure'):
        published_figure('I', 'Cross Entropy', 'cifar10_lt', 'imbalance_factor=10')
    with pytest.raises(ValueError, match='no figure'):  # a dash in the paper
        published_figure('II', 'ACE', 'imagenet_lt', metric='top1_few')


@pytest.mark.parametrize(('change', 'message'), [
    (dict(rows=[dict(name='a')]), "'config' is missing"),
    (dict(rows=[dict(name='a', config='c', colour=1)]), "unknown field 'colour'"),
    (dict(rows=[dict(name='a', config='c'), dict(name='a', config='d')]), 'stands twice'),
    (dict(rows=[dict(name='a', config='c', after='b')]), "after='b' is no row before it"),
    (dict(rows=[dict(name='a', config='c'), dict(name='b', config='d', after='a', seeds=[0, 1])]),
     "row 'b': seed 1 is none of row 'a'"),
    (dict(rows=[dict(name='a', config='c', published=dict(table='I'))]), "row 'a', published: the field 'dataset'"),
    (dict(rows=[dict(name='a', config='c', published=dict(table='I', row='x', dataset='y'))]), "row 'a'.* no figure"),
    (dict(seeds='012'), "seeds='012' must be a list"),
    (dict(seeds=[0, 0]), r"seeds=\[0, 0\] must be a list of different integers"),
    (dict(seeds=[True]), r"seeds=\[True\] must be"),
    (dict(options='a=1'), "options='a=1' must be a list of"),
    (dict(rows=[dict(name='a', config='c', options=['b'])]), r"row 'a': options=\['b'\] must be a list of"),
    (dict(size=3), "unknown field 'size'"),
])
def test_wrong_tables(tmp_path, change, message):
    path = tmp_path / 't.json'
    path.write_text(json.dumps(dict(dict(title='t', seeds=[0], schedule='s', rows=[]), **change)))
    with pytest.raises(ValueError, match=message):
        load_table(str(path))


def test_a_file_may_not_take_the_name_of_a_table_of_the_package(tmp_path):
    path = tmp_path / 'demo-digits.json'
    path.write_text((FOLDER / 'demo-digits.json').read_text())
    with pytest.raises(ValueError, match='rename the file'):
        load_table(str(path))
    assert load_table(str(FOLDER / 'demo-digits.json')) == load_table('demo-digits')


def test_unknown_table_names_those_that_there_are():
    with pytest.raises(ValueError, match='table1-cifar10'):
        load_table('table99')


def rows_with_options():
    return [pytest.param(row, id=f'{name}-{row.name}') for name in table_names() for row in load_table(name).rows
            if row.options]


@pytest.mark.parametrize('row', rows_with_options())
def test_options_of_a_row_change_what_it_runs(row):
    """A misspelt option would be a row that measures something else than it says."""
    before, cfg = Config.fromfile(ROOT / row.config), Config.fromfile(ROOT / row.config)
    options = DictAction(['--cfg-options'], 'options')
    namespace = argparse.Namespace()
    options(None, namespace, row.options)
    cfg.merge_from_dict(namespace.options)
    for key in namespace.options:
        section, old = cfg, before
        *parents, last = key.split('.')
        for part in parents:
            section = section[int(part)] if part.isdigit() else section[part]
            old = old[int(part)] if part.isdigit() else old.get(part, {})
        assert section[last] != old.get(last), f'{key} is no change'
        # what is built below refuses unknown arguments itself; the rest must stand in the config
        known = last in old or last == 'type' or parents[0] in ('model', 'default_hooks') or key in TAKEN
        assert known, f'{key} is not in {row.config}'
    pytest.importorskip('mmpretrain', reason='the networks are classifiers of mmpretrain')
    import nbn_mm  # noqa: F401
    init_default_scope('mmpretrain')
    model = MODELS.build(cfg.model)
    build_optim_wrapper(model, cfg.optim_wrapper)
    if 'speed' in cfg.default_hooks:
        HOOKS.build(cfg.default_hooks.speed)
    for layer in model.modules():
        if hasattr(layer, 'bias_direction') and 'zero_bias' in str(row.options):
            assert layer.options.zero_bias == cfg.model.backbone.nbn.zero_bias


@pytest.mark.parametrize(('comparisons', 'message'), [
    ([['x', 'a', 'b']], r"comparison 'x'.*must be two rows"), ([['x', 'a', 'a'], ['x', 'a', 'a']], "'x' stands twice")])
def test_wrong_comparisons(tmp_path, comparisons, message):
    path = tmp_path / 't.json'
    rows = [dict(name='a', config='c')]
    path.write_text(json.dumps(dict(title='t', seeds=[0], schedule='s', rows=rows, comparisons=comparisons)))
    with pytest.raises(ValueError, match=message):
        load_table(str(path))
