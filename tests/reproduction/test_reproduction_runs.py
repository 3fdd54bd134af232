"""Runs of a table: their commands, logs, memory and devices, failures, and how several are run at a time."""
import json
import os
import re
import resource
import subprocess

import pytest
from table_runs import ROWS, runs

from nbn_mm.reproduction import execute as execution
from nbn_mm.reproduction.execute import RunError, execute, hardware
from nbn_mm.reproduction.schedule import Packer, needed_memory_mb, run_cluster, run_local
from nbn_mm.version import __version__


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


def test_evaluations_of_iterations_are_told_apart(make_table, project, tmp_path):
    run = runs(make_table(dict(ROWS[0], options=['iterations=1'])), tmp_path, seeds=[0])[0]
    execute(run, project)
    assert [(each['step'], each['all_top1']) for each in run.evaluations()] == [(1, 51.0), (2, 52.0)]


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
                         dict(timeout_min=10), tell=lambda line: None)
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
