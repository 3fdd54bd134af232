"""The demo as quickstart.sh runs it, with one epoch."""
import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_demo_prints_a_table_and_writes_the_plots(tmp_path):
    pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')
    pytest.importorskip('sklearn', reason='scikit-learn is not installed')
    done = subprocess.run([sys.executable, str(ROOT / 'tools/demo.py'), '--out', str(tmp_path), '--epochs', '1'],
                          capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '| Method' in done.stdout and 'Harmonic mean' in done.stdout and 'NBN+LR' in done.stdout
    out, = tmp_path.iterdir()
    with open(out / 'table.csv') as file:
        rows = list(csv.DictReader(file))
    methods = ['CE, BN', 'CE, NBN+LR', 'Balanced Softmax, BN', 'Balanced Softmax, NBN+LR']
    assert [row['method'] for row in rows] == methods
    assert len({row['all'] for row in rows}) > 1, 'four methods with one figure'
    assert all(0 < float(row['all']) <= 100 for row in rows)
    for name in ('accuracy_by_frequency.png', 'sorted_weights.png'):
        assert (out / name).read_bytes().startswith(b'\x89PNG') and (out / name).stat().st_size > 5000


def test_demo_refuses_no_epochs(tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / 'tools/demo.py'), '--out', str(tmp_path), '--epochs', '0'],
                          capture_output=True, text=True)
    assert done.returncode == 2 and '--epochs 0' in done.stderr
