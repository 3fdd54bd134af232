import json
from pathlib import Path

import pytest

from nbn_mm.reproduction.tables import load_table, published_figure, table_names

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('name', table_names())
def test_tables_of_the_package_name_configs_that_exist(name):
    table = load_table(name)
    assert table.rows and table.title
    for row in table.rows:
        assert (ROOT / row.config).is_file(), row.config
        assert row.seeds == tuple(sorted(set(row.seeds)))
        factor = f'_ir{row.imbalance_factor}' if row.imbalance_factor not in (None, 100) else None
        assert factor is None or Path(row.config).stem.endswith(factor)


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
    (dict(size=3), "unknown field 'size'"),
])
def test_wrong_tables(tmp_path, change, message):
    path = tmp_path / 't.json'
    path.write_text(json.dumps(dict(dict(title='t', seeds=[0], schedule='s', rows=[]), **change)))
    with pytest.raises(ValueError, match=message):
        load_table(str(path))


def test_unknown_table_names_those_that_there_are():
    with pytest.raises(ValueError, match='table1-cifar10'):
        load_table('table99')
