"""Blocks of figures in guides, and that the project's own guides say what its logs say."""
from pathlib import Path

import pytest

from nbn_mm.reproduction.pages import fill
from nbn_mm.reproduction.runs import runs_of
from nbn_mm.reproduction.schedule import run_local
from nbn_mm.reproduction.tables import load_table

ROOT = Path(__file__).resolve().parents[2]
GUIDES = [path for path in [ROOT / 'README.md', *sorted(ROOT.glob('docs/*.md')), *sorted(ROOT.glob('configs/**/*.md'))]
          if '<!-- reproduce ' in path.read_text(encoding='utf-8')]


@pytest.fixture
def measured(make_table, project, tmp_path):
    """A function that loads the one table there is, of which the first row has run."""
    table = make_table(dict(name='bn_ce', config='configs/a.py'), dict(name='nbn_ce', config='configs/b.py'),
                       comparisons=[['NBN', 'bn_ce', 'nbn_ce']])
    runs = runs_of(table, tmp_path / 'work', tmp_path / 'results')
    run_local(runs[:2], project, 2, {}, tell=lambda line: None, poll=0.05)

    def load(name):
        if name != 'some-table':
            raise ValueError(f'table {name!r} is unknown')
        return table, runs

    return load


def test_blocks_are_written_from_the_logs(measured, tmp_path):
    guide = tmp_path / 'docs' / 'guide.md'
    guide.parent.mkdir()
    guide.write_text('Before\n<!-- reproduce some-table rows bn_ce -->\nold\n<!-- end -->\nbetween\n'
                     '<!-- reproduce some-table matrix "ce=Cross entropy" -->\n<!-- end -->\n'
                     '<!-- reproduce some-table differences -->\n<!-- end -->\nafter\n')
    text = fill(guide, tmp_path, tmp_path / 'results', measured)
    assert text.startswith('Before\n<!-- reproduce some-table rows bn_ce -->\n') and text.endswith('after\n')
    assert 'old' not in text and '\nbetween\n' in text
    assert ('| [bn_ce](../configs/a.py) | [0](../results/some-table/bn_ce_seed0.jsonl) '
            '[1](../results/some-table/bn_ce_seed1.jsonl) | 52.50 ± 0.71 |') in text
    assert '| Cross entropy | [52.50 ± 0.71](../configs/a.py) (– / – / 10.0) [0](' in text
    assert '[missing](../configs/b.py)' in text and '| NBN | bn_ce → nbn_ce | missing |' in text
    guide.write_text(text)
    assert fill(guide, tmp_path, tmp_path / 'results', measured) == text, 'a second time changes nothing'


@pytest.mark.parametrize(('call', 'message'), [
    ('some-table rows fourth', 'fourth.*its rows: bn_ce, nbn_ce'),
    ('some-table plot', 'must be a table and one of rows'),
    ('table9 rows', "'table9' is unknown"), ('some-table', 'must be a table and one of'),
    ('some-table matrix ce', "'ce' of a matrix must be stem=label"), ('some-table matrix x=X', "no row of 'x'"),
    ('some-table differences bn_ce', "no comparison whose second row is 'bn_ce'")])
def test_blocks_that_are_not_understood(measured, tmp_path, call, message):
    guide = tmp_path / 'guide.md'
    guide.write_text(f'<!-- reproduce {call} -->\n<!-- end -->\n')
    with pytest.raises(ValueError, match=f'guide.md, line 1: .*{message}'):
        fill(guide, tmp_path, tmp_path / 'results', measured)


@pytest.mark.parametrize(('text', 'message'), [
    ('a\n<!-- reproduce some-table rows -->\nb\n', 'line 2: the block has no <!-- end -->'),
    ('<!-- reproduce some-table rows -->\n<!-- reproduce some-table rows -->\n<!-- end -->\n',
     'line 2: .*no .* before it'),
    ('a\n<!-- end -->\n', 'line 2: .*ends no block'), ('<!-- reproduce some-table rows\n', 'line 1: .* is not')])
def test_blocks_without_begin_or_end(measured, tmp_path, text, message):
    guide = tmp_path / 'guide.md'
    guide.write_text(text)
    with pytest.raises(ValueError, match=message):
        fill(guide, tmp_path, tmp_path / 'results', measured)


def test_examples_in_fenced_code_stay(measured, tmp_path):
    guide = tmp_path / 'guide.md'
    guide.write_text('```markdown\n<!-- reproduce t rows -->\n<!-- end -->\n```\nend\n')
    assert fill(guide, tmp_path, tmp_path / 'results', measured) == guide.read_text()


@pytest.mark.parametrize('guide', GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_guides_say_what_the_logs_say(guide, tmp_path):
    def load(name):
        table = load_table(name)
        return table, runs_of(table, tmp_path, ROOT / 'results')

    assert fill(guide, ROOT, ROOT / 'results', load) == guide.read_text(encoding='utf-8'), \
        f'stale: python tools/reproduce.py TABLE --list --pages {guide.relative_to(ROOT)}'
