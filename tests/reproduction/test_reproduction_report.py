"""What a table says of its logs: means, spreads, verdicts, differences; logs that are damaged or of other options."""
import csv
import json

import pytest
from table_runs import ROWS, runs

from nbn_mm.reproduction.execute import execute
from nbn_mm.reproduction.pages import page, rows_markdown
from nbn_mm.reproduction.report import COLUMNS, differences, falls_short, summarize, write_csv
from nbn_mm.reproduction.schedule import run_local


@pytest.mark.parametrize(('damage', 'message'), [
    (lambda text: text[:-20], 'line 5 is no JSON'),
    (lambda text: '<<<<<<< HEAD\n' + text, 'line 1 is no JSON'),
    (lambda text: text.splitlines()[0] + '\n', 'holds no evaluation'),
    (lambda text: text.split('\n', 1)[1], 'must name command, minutes and hardware'),
    (lambda text: '', 'must name command, minutes and hardware')])
def test_a_damaged_log_is_an_error(make_table, project, tmp_path, damage, message):
    members = runs(make_table(ROWS[0]), tmp_path, seeds=[0])
    execute(members[0], project)
    members[0].log.write_text(damage(members[0].log.read_text()))
    with pytest.raises(ValueError, match=f'{members[0].log}.*{message}'):
        summarize(members)


def test_options_of_a_log_are_held_against_the_row(make_table, project, tmp_path):
    before = make_table(dict(ROWS[0], options=['a=1', 'b=2']))
    quiet = dict(tell=lambda line: None, poll=0.05)
    run_local(runs(before, tmp_path, options=['x.data_root=/there', 'c=3']), project, 2, {}, **quiet)
    after = make_table(dict(ROWS[0], options=['a=1', 'b=4']))
    summary, = summarize(runs(after, tmp_path))
    assert summary['other_options'] == {seed: ['b=2', 'c=3', 'without b=4'] for seed in (0, 1)}
    assert 'seed 1 ran with other options: b=2 c=3 without b=4' in rows_markdown([summary], 'some-table', '..')
    run_local(runs(make_table(dict(ROWS[0], name='same', options=['a=1'])), tmp_path), project, 2, {}, **quiet)
    assert summarize(runs(make_table(dict(ROWS[0], name='same', options=['a=1'])), tmp_path))[0]['other_options'] == {}
    moved = make_table(dict(ROWS[0], name='same', config='configs/z.py', options=['a=1']))
    assert summarize(runs(moved, tmp_path))[0]['other_options'] == {seed: ['config configs/a.py'] for seed in (0, 1)}
    log = runs(moved, tmp_path)[1].log
    log.write_text(log.read_text().replace('randomness.seed=1', 'randomness.seed=7'))
    assert 'randomness.seed=7' in summarize(runs(moved, tmp_path))[0]['other_options'][1]


def test_summary_means_spread_and_missing_rows(make_table, project, tmp_path):
    table = make_table(*ROWS)
    run_local(runs(table, tmp_path, rows=['plain']), project, 1, {}, tell=lambda line: None, poll=0.05)
    first, second = summarize(runs(table, tmp_path))
    # seeds 0 and 1 end at 52 and 53, their best is the same
    assert first['mean'] == pytest.approx(52.5) and first['std'] == pytest.approx(0.5**0.5)
    assert first['few'] == 10 and first['many'] is None and first['seeds'] == '0 1'
    assert second['mean'] is None and second['states'] == {0: 'missing', 1: 'missing'}
    write_csv([first, second], tmp_path / 'out.csv')
    with open(tmp_path / 'out.csv') as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS and [line['row'] for line in lines] == ['plain'], 'a row without a log'
    text = rows_markdown([first, second], 'some-table', '..')
    assert 'missing: seed 0, 1' in text and '[0](some-table/plain_seed0.jsonl)' in text
    assert '52.50 ± 0.71' in text


def test_differences_are_taken_seed_by_seed(make_table, project, tmp_path):
    rows = [dict(name='plain', config='configs/a.py'), dict(name='other', config='configs/b.py', note='a note')]
    table = make_table(*rows, comparisons=[['more', 'plain', 'other']])
    nothing, = differences(table, runs(table, tmp_path))
    assert nothing['seeds'] == [] and nothing['mean'] is nothing['half_width'] is nothing['verdict'] is None
    run_local(runs(table, tmp_path), project, 2, {}, tell=lambda line: None, poll=0.05)
    for seed, gain in ((0, 2.0), (1, 3.0)):
        run = runs(table, tmp_path, rows=['other'], seeds=[seed])[0]
        lines = [json.loads(line) for line in run.log.read_text().splitlines()]
        lines[-1]['shot/all_top1'] += gain
        run.log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    found, = differences(table, runs(table, tmp_path))
    assert found['values'] == [2.0, 3.0] and found['few'] == 0 and found['many'] is None
    assert found['half_width'] == pytest.approx(12.706 * 0.5, rel=1e-4), 't of one degree of freedom times std / sqrt 2'
    text = page(table, runs(table, tmp_path), summarize(runs(table, tmp_path)))
    assert '| more | plain → other | +2.00 +3.00 | +2.50 | ± 6.35 | – | – | +0.00 | undecided |' in text
    assert '(configs/b.py) (a note)' in text.replace('../', '') and 'Hardware: ' in text


def test_best_on_test_is_apart_from_the_last(make_table, project, tmp_path):
    run = runs(make_table(ROWS[0]), tmp_path, seeds=[0])[0]
    run.work_dir.mkdir(parents=True)
    (run.work_dir / 'epoch_2.pth').write_text('')
    (run.work_dir / 'last_checkpoint').write_text('epoch_2.pth')
    execute(run, project)  # resumes: steps 3 and 4, of which 3 is the best
    summary, = summarize([run])
    assert (summary['mean'], summary['best_on_test']) == (54.0, 55.0)


@pytest.mark.parametrize(('mean', 'std', 'number', 'expected'), [
    (77.6, 0.1, 3, False), (70.0, None, 1, None), (77.4, 0.1, 3, True), (77.4, 1.0, 3, False), (76.8, 1.0, 3, True),
    (None, None, 0, None)])
def test_falls_short(make_table, mean, std, number, expected):
    row = make_table(dict(ROWS[0], published=dict(
        table='I', row='Cross Entropy', dataset='cifar10_lt', setting='imbalance_factor=100'))).rows[0]
    assert row.published == 78.0
    assert falls_short(mean, std, number, row) is expected


def test_the_best_reading_has_its_own_spread(make_table, project, tmp_path):
    row = dict(ROWS[0], published=dict(
        table='I', row='Cross Entropy', dataset='cifar10_lt', setting='imbalance_factor=100'))
    members = runs(make_table(row), tmp_path)
    run_local(members, project, 2, {}, tell=lambda line: None, poll=0.05)
    for run, (best, last) in zip(members, ((77.3, 70.0), (77.3, 77.0)), strict=True):
        lines = [json.loads(line) for line in run.log.read_text().splitlines()]
        lines[-2]['shot/all_top1'], lines[-1]['shot/all_top1'] = best, last
        run.log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    summary, = summarize(members)
    assert summary['falls_short'] is False, '4.5 short, but the last iterations are 7 apart'
    assert summary['best_falls_short'] is True, '0.7 short, and the best ones are equal'
    assert '| falls short in best on test only |' in rows_markdown([summary], 'some-table', '..')
    members[1].log.unlink()
    summary, = summarize(members)
    assert summary['falls_short'] is None and summary['best_falls_short'] is None, 'a seed is missing'


@pytest.mark.parametrize(('last', 'best', 'words'), [
    ((70.0, 70.2), (70.0, 70.2), 'falls short'), ((70.0, 70.2), (78.0, 78.0), 'falls short, best on test does not'),
    ((78.0, 78.2), (78.0, 78.2), 'does not fall short')])
def test_the_words_of_a_verdict(make_table, project, tmp_path, last, best, words):
    row = dict(ROWS[0], published=dict(
        table='I', row='Cross Entropy', dataset='cifar10_lt', setting='imbalance_factor=100'))
    members = runs(make_table(row), tmp_path)
    run_local(members, project, 2, {}, tell=lambda line: None, poll=0.05)
    for run, *pair in zip(members, best, last, strict=True):
        lines = [json.loads(line) for line in run.log.read_text().splitlines()]
        lines[-2]['shot/all_top1'], lines[-1]['shot/all_top1'] = pair
        run.log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    assert f'| {words} |' in rows_markdown(summarize(members), 'some-table', '..')


def test_another_schedule_is_never_judged(make_table):
    published = dict(table='I', row='Cross Entropy', dataset='cifar10_lt', setting='imbalance_factor=100')
    row = make_table(dict(ROWS[0], published=published), comparable=False).rows[0]
    assert falls_short(10.0, 0.1, 3, row) is None
