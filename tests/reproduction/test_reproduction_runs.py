import csv
import fcntl
import json
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nbn_mm.reproduction import execute as execution
from nbn_mm.reproduction.execute import RunError, execute, hardware
from nbn_mm.reproduction.pages import page, rows_markdown
from nbn_mm.reproduction.report import COLUMNS, differences, falls_short, summarize, write_csv
from nbn_mm.reproduction.runs import runs_of
from nbn_mm.reproduction.schedule import Packer, needed_memory_mb, run_cluster, run_local
from nbn_mm.version import __version__

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
    assert f'load_from={first.work_dir / "epoch_2.pth"}' in call and 'randomness.seed=0' in call
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
    head = run.scalars()[0]
    assert head['processes'] == 2 and '--resume' not in head['command'], 'not that of its second half'
    assert [set(each) for each in head['earlier']] == [{'started', 'commit', 'hardware'}]


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
    os.utime(run.work_dir / 'output.txt', (time.time() + 600, ) * 2)  # it went on for ten minutes
    assert run.state() == 'interrupted' and execute(run, project) == 'finished'
    assert 9.9 < run.scalars()[0]['minutes'] < 11, 'those of a process that could not write them'


def interrupted_at_the_end(make_table, project, tmp_path, last):
    """A run that was killed after its last checkpoint and before the evaluation of it."""
    run = runs(make_table(ROWS[0]), tmp_path, seeds=[0])[0]
    execute(run, project)
    run.log.unlink()
    scalars, = run.work_dir.glob('*/vis_data/scalars.json')
    scalars.write_text(''.join(scalars.read_text().splitlines(keepends=True)[:last]))
    for step in (3, 4):
        (run.work_dir / f'epoch_{step}.pth').write_text('')
    (run.work_dir / 'last_checkpoint').write_text('epoch_4.pth')
    return run


def test_an_evaluation_that_was_lost_is_made_up_for(make_table, project, tmp_path):
    run = interrupted_at_the_end(make_table, project, tmp_path, 4)
    assert run.last_evaluation_is_lost() and run.checkpoint_before_last().name == 'epoch_3.pth'
    assert execute(run, project) == 'finished'
    calls = [json.loads(line) for line in (run.work_dir / 'calls.txt').read_text().splitlines()]
    assert [call[call.index('--resume') + 1] for call in calls[1:]] == [
        '--cfg-options', str(run.work_dir / 'epoch_3.pth')]
    assert [each['step'] for each in run.evaluations()] == [1, 2, 4]
    assert run.scalars()[0]['processes'] == 3


def test_a_lost_evaluation_right_after_another_one(make_table, project, tmp_path):
    """No training was logged in between: the last thing in the log is the evaluation before."""
    run = interrupted_at_the_end(make_table, project, tmp_path, 4)
    for path in run.work_dir.glob('epoch_*.pth'):
        path.rename(path.with_name(path.name.replace('epoch', 'iter')))
    (run.work_dir / 'last_checkpoint').write_text('iter_4.pth')
    assert 'shot/all_top1' in run.scalars()[-1] and run.last_evaluation_is_lost()


def test_without_a_checkpoint_before_it_is_trained_anew(make_table, project, tmp_path):
    run = interrupted_at_the_end(make_table, project, tmp_path, 0)
    for step in (2, 3):
        (run.work_dir / f'epoch_{step}.pth').unlink()
    assert execute(run, project) == 'finished'
    calls = [json.loads(line) for line in (run.work_dir / 'calls.txt').read_text().splitlines()]
    assert ['--resume' in call for call in calls] == [False, True, False]
    assert [each['step'] for each in run.evaluations()] == [1, 2]


def test_a_last_iteration_that_is_never_evaluated_is_an_error(make_table, project, tmp_path):
    train = project / 'tools/train.py'
    train.write_text(train.read_text().replace("epoch_{4 if resumed else 2}", "epoch_{9 if resumed else 8}"))
    run = runs(make_table(ROWS[0]), tmp_path, seeds=[0])[0]
    with pytest.raises(RunError, match=r'epoch_8\.pth was not evaluated; set train_cfg\.val_interval of configs/a\.py'):
        execute(run, project)
    assert run.state() == 'failed'


def test_a_run_goes_on_with_the_options_it_was_started_with(make_table, project, tmp_path):
    start, other, moved = (runs(make_table(ROWS[0]), tmp_path, seeds=[0], options=options)[0]
                           for options in (['lr=9'], [], ['lr=9', 'a.data_root=/there']))
    execute(start, project)
    start.log.unlink()
    with pytest.raises(RunError, match=f'was started with --cfg-options lr=9 .* or remove {start.work_dir}'):
        execute(other, project)
    assert execute(moved, project) == 'finished', 'the data may lie elsewhere'


def test_a_log_that_another_process_wrote_stays(make_table, project, tmp_path, monkeypatch):
    run = runs(make_table(ROWS[0]), tmp_path, seeds=[0])[0]
    execute(run, project)
    text = run.log.read_text()
    monkeypatch.setattr(type(run), 'state', lambda self: 'interrupted')  # asked just before the log was written
    assert execute(run, project) == 'finished' and run.log.read_text() == text
    assert len((run.work_dir / 'calls.txt').read_text().splitlines()) == 1


def test_asking_for_the_state_twice_at_a_time(make_table, project, tmp_path):
    run = runs(make_table(ROWS[0]), tmp_path, seeds=[0])[0]
    execute(run, project)
    run.log.unlink()
    handle = os.open(run.work_dir / '.lock', os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_SH)
    assert run.state() == 'interrupted', 'nobody runs it'
    os.close(handle)


def test_an_empty_pointer_is_left_to_the_training(make_table, project, tmp_path):
    run = runs(make_table(ROWS[0]), tmp_path, seeds=[0])[0]
    execute(run, project)
    run.log.unlink()
    (run.work_dir / 'last_checkpoint').write_text('')
    execute(run, project)
    assert '--resume' in json.loads((run.work_dir / 'calls.txt').read_text().splitlines()[-1])


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
    moved = make_table(dict(ROWS[0], name='same', config='configs/z.py', options=['a=1']))
    assert summarize(runs(moved, tmp_path))[0]['other_options'] == {seed: ['config configs/a.py'] for seed in (0, 1)}
    log = runs(moved, tmp_path)[1].log
    log.write_text(log.read_text().replace('randomness.seed=1', 'randomness.seed=7'))
    assert 'randomness.seed=7' in summarize(runs(moved, tmp_path))[0]['other_options'][1]


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
                       'load_from=work_dirs/reproduce/some-table/plain/seed0/epoch_2.pth')


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
    monkeypatch.setattr(execution, 'DEVICES', tmp_path)
    assert 'card' in hardware() and not execution.sees_accelerator(), 'WSL has no device files'
    (tmp_path / 'nvidia0').touch()
    assert hardware() == 'card --id=0 --query-gpu=name'
    assert hardware(dict(CUDA_VISIBLE_DEVICES='3,1')) == 'card --id=3 --query-gpu=name'
    assert hardware(dict(CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='2')).endswith(', 2 threads')
    assert 'card' not in hardware(dict(CUDA_VISIBLE_DEVICES='-1')) and not execution.sees_accelerator(
        dict(CUDA_VISIBLE_DEVICES='-1'))
    tool.write_text('#!/bin/sh\nexit 9\n')
    assert hardware() == 'an accelerator that nvidia-smi does not name', 'not the processor'


def test_a_log_names_the_commit_of_the_project_alone(make_table, project, tmp_path, monkeypatch):

    def repository(folder):
        git = ['git', '-c', 'user.name=n', '-c', 'user.email=e', '-C', str(folder)]
        for words in (['init', '-q'], ['commit', '-q', '--allow-empty', '-m', 'a commit']):
            subprocess.run([*git, *words], check=True)

    repository(tmp_path)
    first, second = runs(make_table(ROWS[0]), tmp_path)
    execute(first, project)
    assert first.scalars()[0]['commit'] == f'nbn_mm {__version__}', 'the repository around it is another project'
    with monkeypatch.context() as without_git:
        without_git.setenv('PATH', '')
        execute(second, project)
    assert second.scalars()[0]['commit'] == f'nbn_mm {__version__}'
    repository(project)
    second.log.unlink()
    execute(second, project)
    assert re.fullmatch('[0-9a-f]{12}', second.scalars()[0]['commit'])


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
    blind = Packer(2, free=lambda: None, accelerated=True)
    assert blind.fits(first, 0) and not blind.fits(second, 1), 'nvidia-smi says nothing: one at a time'
    assert Packer(2, free=lambda: None, accelerated=False).fits(second, 1)
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
    with pytest.raises(ValueError, match=r"row 'few' of table 'some-table' has no seed 1; its seeds: \[0\]"):
        runs(make_table(*ROWS, dict(name='few', config='configs/c.py', seeds=[0])), tmp_path, rows=['few'], seeds=[1])
    with pytest.raises(ValueError, match='randomness.seed is set by the table'):
        runs(table, tmp_path, options=['lr=1', 'randomness.seed=7'])
    with pytest.raises(ValueError, match='--cfg-options lr: KEY=VALUE'):
        runs(table, tmp_path, options=['lr'])
    with pytest.raises(KeyError, match='plain, second'):
        runs(table, tmp_path, rows=['third'])
