import csv
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nbn_mm.reproduction.execute import RunError, execute, hardware
from nbn_mm.reproduction.pages import page, rows_markdown
from nbn_mm.reproduction.report import COLUMNS, differences, falls_short, summarize, write_csv
from nbn_mm.reproduction.runs import runs_of
from nbn_mm.reproduction.schedule import Packer, needed_memory_mb, run_cluster, run_local

ROOT = Path(__file__).resolve().parents[2]
ROWS = [dict(name='plain', config='configs/a.py'), dict(name='second', config='configs/b.py', after='plain')]

PLAIN = (f'import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tools")!r}]; from plain_rooms import '
         "without_registration; without_registration('reproduction'); ")
EXECUTE = ('import pathlib, pickle; from nbn_mm.reproduction.execute import execute; '
           'execute(pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()), pathlib.Path(sys.argv[2]))')


def runs(table, tmp_path, **kwargs):
    return runs_of(table, tmp_path / 'work', tmp_path / 'results', **kwargs)


def test_a_table_runs_to_its_end_and_is_not_run_again(make_table, project, tmp_path):
    table, lines = make_table(*ROWS), []
    assert run_local(runs(table, tmp_path, options=['data=here']), project, 2, {}, tell=lines.append, poll=0.05) == []
    everything = runs(table, tmp_path)
    assert [run.state() for run in everything] == ['finished'] * 4
    first, _, second, _ = everything
    call = json.loads((second.work_dir / 'calls.txt').read_text())
    assert f'load_from={first.work_dir / "last.pth"}' in call and 'randomness.seed=0' in call
    head = first.scalars()[0]
    assert head['command'].startswith('python tools/train.py configs/a.py') and head['minutes'] >= 0
    assert '--work-dir work_dirs/reproduce/some-table/plain/seed0' in head['command']
    assert head['command'].endswith('randomness.seed=0 data=here')
    assert str(tmp_path) not in first.log.read_text() + second.log.read_text(), 'paths of this machine'
    assert head['memory_mb'] == 700 and head['seed'] == 0 and head['hardware']
    assert [each['step'] for each in first.evaluations()] == [1, 2]
    lines.clear()
    assert run_local(runs(table, tmp_path), project, 2, {}, tell=lines.append) == [] and lines == []


def test_an_interrupted_run_is_resumed(make_table, project, tmp_path):
    table = make_table(dict(ROWS[0], options=['sleep=60']))
    run = runs(table, tmp_path, seeds=[0])[0]
    assert run.state() == 'missing'
    (tmp_path / 'run.pkl').write_bytes(pickle.dumps(run))
    process = subprocess.Popen([sys.executable, '-c', PLAIN + EXECUTE, str(tmp_path / 'run.pkl'), str(project)],
                               start_new_session=True)
    deadline = time.monotonic() + 30
    while not (run.work_dir / 'calls.txt').is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert run.state() == 'running'
    assert execute(run, project) == 'running', 'a second process must leave it alone'
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while run.state() == 'running' and time.monotonic() < deadline:
        time.sleep(0.02)
    assert run.state() == 'interrupted'
    assert execute(run, project) == 'finished'
    calls = [json.loads(line) for line in (run.work_dir / 'calls.txt').read_text().splitlines()]
    assert ['--resume' in call for call in calls] == [False, True]
    assert [each['step'] for each in run.evaluations()] == [1, 2, 3, 4]
    assert run.scalars()[0]['processes'] == 2


def test_a_training_that_outlives_the_tool_keeps_its_run(make_table, project, tmp_path):
    run = runs(make_table(dict(ROWS[0], options=['sleep=4'])), tmp_path, seeds=[0])[0]
    (tmp_path / 'run.pkl').write_bytes(pickle.dumps(run))
    tool = subprocess.Popen([sys.executable, '-c', PLAIN + EXECUTE, str(tmp_path / 'run.pkl'), str(project)])
    deadline = time.monotonic() + 30
    while not (run.work_dir / 'pid').is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    tool.kill()
    tool.wait()
    assert run.state() == 'running' and execute(run, project) == 'running', 'no second training in the same work dir'
    while run.state() == 'running' and time.monotonic() < deadline:
        time.sleep(0.1)
    assert run.state() == 'interrupted' and execute(run, project) == 'finished'


def test_evaluations_of_iterations_are_told_apart(make_table, project, tmp_path):
    run = runs(make_table(dict(ROWS[0], options=['iterations=1'])), tmp_path, seeds=[0])[0]
    execute(run, project)
    assert [(each['step'], each['all_top1']) for each in run.evaluations()] == [(1, 51.0), (2, 52.0)]


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


def test_memory_of_a_run(make_table, project, tmp_path):
    run = runs(make_table(dict(ROWS[0], options=['memory=1500'])), tmp_path, seeds=[0])[0]
    execute(run, project)
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    assert max(1500, ours) <= run.scalars()[0]['host_memory_mb'] + 1 <= max(1600, ours + 2)


def test_commands_name_the_default_work_dirs_and_their_variables(make_table, project, tmp_path):
    table = make_table(*ROWS)
    where = f'data_root={tmp_path / "work" / "data"}'
    run_local(runs(table, tmp_path, seeds=[0], options=[where]), project, 1, dict(OMP_NUM_THREADS='1'),
              tell=lambda line: None, poll=0.05)
    command = runs(table, tmp_path, rows=['second'], seeds=[0])[0].scalars()[0]['command']
    assert command == ('OMP_NUM_THREADS=1 python tools/train.py configs/b.py --work-dir '
                       f'work_dirs/reproduce/some-table/second/seed0 --cfg-options randomness.seed=0 {where} '
                       'load_from=work_dirs/reproduce/some-table/plain/seed0/last.pth')


def test_a_second_stage_without_the_first_ones_checkpoint(make_table, project, tmp_path):
    table = make_table(*ROWS)
    first, second = (runs(table, tmp_path, rows=[name], seeds=[0])[0] for name in ('plain', 'second'))
    with pytest.raises(RunError, match='plain/seed0, which is missing; run that row first'):
        execute(second, project)
    execute(first, project)
    (first.work_dir / 'last_checkpoint').unlink()
    with pytest.raises(RunError, match=f'no checkpoint in .*remove {first.log} to train'):
        execute(second, project)


def test_the_accelerator_is_that_of_the_run(tmp_path, monkeypatch):
    tool = tmp_path / 'nvidia-smi'
    tool.write_text('#!/bin/sh\necho "card $1 $2"\n')
    tool.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert hardware() == 'card --id=0 --query-gpu=name'
    assert hardware(dict(CUDA_VISIBLE_DEVICES='3,1')) == 'card --id=3 --query-gpu=name'
    assert hardware(dict(CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='2')).endswith(', 2 threads')


def test_asking_for_the_state_does_not_keep_a_run_from_starting(make_table, project, tmp_path):
    run = runs(make_table(ROWS[0]), tmp_path, seeds=[0])[0]
    with ThreadPoolExecutor(1) as pool:
        with run.locked():  # as a look at the state does, for longer
            started = pool.submit(execute, run, project)
            time.sleep(0.2)
        assert started.result() == 'finished'


def test_a_failed_run_tells_its_last_lines_and_ends_no_other(make_table, project, tmp_path):
    table = make_table(dict(ROWS[0], options=['fail=1']), dict(name='other', config='configs/c.py'), ROWS[1])
    errors = run_local(runs(table, tmp_path, seeds=[0]), project, 1, {}, tell=lambda line: None, poll=0.05)
    assert len(errors) == 2 and 'ValueError: no such thing' in errors[0] and 'exit status 3' in errors[0]
    assert 'starts from some-table/plain/seed0, which is failed' in errors[1]
    assert [run.state() for run in runs(table, tmp_path, seeds=[0])] == ['failed', 'finished', 'missing']
    (project / 'tools/train.py').write_text((project / 'tools/train.py').read_text().replace("'fail' in", "'no' in"))
    assert run_local(runs(table, tmp_path, seeds=[0]), project, 1, {}, tell=lambda line: None, poll=0.05) == []


def test_a_run_without_the_metric_is_an_error(make_table, project, tmp_path):
    train = project / 'tools/train.py'
    train.write_text(train.read_text().replace('shot/all_top1', 'accuracy/top1'))
    with pytest.raises(RunError, match='ShotGroupMetric'):
        execute(runs(make_table(ROWS[0]), tmp_path)[0], project)
    assert not list((tmp_path / 'results').rglob('*'))


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
    (run.work_dir / 'last.pth').write_text('')
    (run.work_dir / 'last_checkpoint').write_text('last.pth')
    execute(run, project)  # resumes: steps 3 and 4, of which 3 is the best
    summary, = summarize([run])
    assert (summary['mean'], summary['best_on_test']) == (54.0, 55.0)


@pytest.mark.parametrize(('mean', 'std', 'number', 'expected'), [
    (77.6, 0.1, 3, False), (77.4, 0.1, 3, True), (77.4, 1.0, 3, False), (76.8, 1.0, 3, True), (None, None, 0, None)])
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


def test_another_schedule_is_never_judged(make_table):
    published = dict(table='I', row='Cross Entropy', dataset='cifar10_lt', setting='imbalance_factor=100')
    row = make_table(dict(ROWS[0], published=published), comparable=False).rows[0]
    assert falls_short(10.0, 0.1, 3, row) is None


def test_packing_by_memory(make_table, project, tmp_path):
    first, second = runs(make_table(dict(ROWS[0], memory_mb=4000)), tmp_path)
    free = [9000]
    packer = Packer(2, free=lambda: free[0])
    assert packer.fits(first, 0)
    packer.start(first)
    assert not packer.fits(second, 1), 'the first has not yet taken its 4,000 MB: 3,500 are left'
    free[0] = 9600
    assert packer.fits(second, 1)
    assert not packer.fits(second, 2), 'no more than two at a time'
    packer.end(first)
    free[0] = 5000
    assert not packer.fits(second, 1) and packer.fits(second, 0), 'alone it is tried in any case'
    execute(first, project)
    assert needed_memory_mb(second) == 1370, 'measured: 700 MB, a tenth more, and the context'


def test_submitit_runs_them_too(make_table, project, tmp_path):
    pytest.importorskip('submitit', reason='submitit is not installed')
    table = make_table(*ROWS)
    errors = run_cluster(runs(table, tmp_path, seeds=[0]), project, 2, {}, 'local', tmp_path / 'jobs',
                         dict(timeout_min=2), tell=lambda line: None)
    assert errors == [] and [run.state() for run in runs(table, tmp_path, seeds=[0])] == ['finished'] * 2


def test_seeds_and_rows_that_are_not_of_the_table(make_table, tmp_path):
    table = make_table(*ROWS)
    with pytest.raises(ValueError, match='fixed before the first run'):
        runs(table, tmp_path, seeds=[7])
    with pytest.raises(KeyError, match='plain, second'):
        runs(table, tmp_path, rows=['third'])
