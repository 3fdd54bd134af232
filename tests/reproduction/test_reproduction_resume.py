"""Runs that are interrupted, at any time, and what else holds a run."""
import fcntl
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from table_runs import ROWS, runs

from nbn_mm.reproduction.execute import RunError, execute

ROOT = Path(__file__).resolve().parents[2]
PLAIN = (f'import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tools")!r}]; from plain_rooms import '
         "without_registration; without_registration('reproduction'); ")
EXECUTE = ('import pathlib, pickle; from nbn_mm.reproduction.execute import execute; '
           'execute(pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()), pathlib.Path(sys.argv[2]))')


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


def test_asking_for_the_state_does_not_keep_a_run_from_starting(make_table, project, tmp_path):
    run = runs(make_table(ROWS[0]), tmp_path, seeds=[0])[0]
    with ThreadPoolExecutor(1) as pool:
        with run.locked():  # as a look at the state does, for longer
            started = pool.submit(execute, run, project)
            time.sleep(0.2)
        assert started.result() == 'finished'
