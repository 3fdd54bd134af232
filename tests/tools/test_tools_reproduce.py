"""tools/reproduce.py on Digits-LT, with real trainings of two epochs."""
import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def reproduce(*args):
    return subprocess.run([sys.executable, str(ROOT / 'tools/reproduce.py'), *map(str, args)], capture_output=True,
                          text=True)


def test_a_real_table(tmp_path):
    pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')
    pytest.importorskip('sklearn', reason='scikit-learn is not installed')
    table = tmp_path / 'two-rows.json'
    rows = [dict(name=name, config=f'configs/demo/resnet8_{name}_digits_lt.py') for name in ('bn_ce', 'nbn_lr_bsl')]
    table.write_text(json.dumps(dict(
        title='Two rows', seeds=[0], schedule='2 epochs', rows=rows,
        options=['train_cfg.max_epochs=2', 'train_cfg.val_interval=1', 'train_dataloader.num_workers=0'])))
    where = ('--work-dir', tmp_path / 'work', '--results', tmp_path / 'results')
    done = reproduce(table, *where, '--jobs', 2)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(tmp_path / 'results/two-rows.csv') as file:
        lines = list(csv.DictReader(file))
    assert [line['row'] for line in lines] == ['bn_ce', 'nbn_lr_bsl'] and lines[0]['mean'] != lines[1]['mean']
    assert all(0 < float(line['mean']) <= float(line['best_on_test']) <= 100 for line in lines)
    page = (tmp_path / 'results/two-rows.md').read_text()
    link = re.search(r'\[bn_ce\]\((.*?)\)', page)[1]
    assert (tmp_path / 'results' / link).resolve() == ROOT / rows[0]['config']
    told = json.loads(reproduce(table, *where, '--json').stdout)
    assert told[0]['states'] == {'0': 'finished'}
    assert told[0]['mean'] == pytest.approx(float(lines[0]['mean']), abs=1e-3)

    # the command of a log gives its figures again, to the digit
    log = [json.loads(line) for line in (tmp_path / 'results/two-rows/nbn_lr_bsl_seed0.jsonl').read_text().splitlines()]
    variable, python, *command = shlex.split(log[0]['command'])
    assert (variable, python) == ('OMP_NUM_THREADS=1', 'python')
    again = subprocess.run([sys.executable, *command, '--work-dir', str(tmp_path / 'again')], cwd=ROOT,
                           capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-2000:]
    scalars, = (tmp_path / 'again').glob('*/vis_data/scalars.json')
    evaluations = [each for each in map(json.loads, scalars.read_text().splitlines()) if 'shot/all_top1' in each]
    assert len(evaluations) == 2
    assert [each['shot/all_top1'] for each in evaluations] == pytest.approx(
        [each['shot/all_top1'] for each in log[1:] if 'shot/all_top1' in each], rel=1e-4)


def test_list_shows_what_is_missing(tmp_path):
    done = reproduce('table1-cifar10', '--list', '--work-dir', tmp_path, '--results', tmp_path)
    assert done.returncode == 0 and 'published 84.1' in done.stdout and 'missing 0 1 2' in done.stdout
    assert 'configs/cifar/resnet32_nbn_lr_bsl_cifar10_lt.py' in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('args', 'message'), [
    (('no-table', ), 'unknown; there are'), (('demo-digits', '--rows', 'x'), 'has no row'),
    (('demo-digits', '--seeds', '5'), 'fixed before'), (('demo-digits', '--jobs', '0'), '--jobs 0')])
def test_wrong_arguments(args, message):
    done = reproduce(*args)
    assert done.returncode and message in done.stderr


def test_figure_of_differences(tmp_path):
    tool = ROOT / 'tools/analysis_tools/plot_differences.py'

    def plot(*args):
        return subprocess.run([sys.executable, str(tool), *map(str, args)], capture_output=True, text=True)

    done = plot('Tiny=tiny-imagenet-lt-8e', '--results', ROOT / 'results', '--to', 'nbn_ce', '--out',
                tmp_path / 'd.png')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'd.png').stat().st_size > 5000
    empty = plot('table1-cifar10', '--results', tmp_path, '--out', tmp_path / 'e.png')
    assert empty.returncode == 1 and 'error: there are no differences to draw.' in empty.stderr
    unknown = plot('demo-digits', '--to', 'x', '--out', tmp_path / 'e.png')
    assert unknown.returncode == 1 and 'error: --to x: no table compares this row' in unknown.stderr
    wrong = plot('table1-cifar10', '--out', tmp_path / 'e.txt')
    assert wrong.returncode == 1 and 'must end in .png' in wrong.stderr
