"""A project whose training is a few lines: the queue is under test, not the training."""
import json
from pathlib import Path

import pytest

from nbn_mm.reproduction.tables import load_table

TRAIN = '''
import json, os, pathlib, sys, time
args = sys.argv[1:]
work = pathlib.Path(args[args.index('--work-dir') + 1])
options = dict(o.split('=', 1) for o in args[args.index('--cfg-options') + 1:])
resumed = '--resume' in args
if 'fail' in options:
    print('ValueError: no such thing'); sys.exit(3)
stamp = work / str(len(list(work.glob('*/vis_data')))) / 'vis_data'
stamp.mkdir(parents=True)
seed = int(options['randomness.seed'])
steps = [3, 4] if resumed else [1, 2]
if resumed and (work / 'last_checkpoint').read_text().endswith('epoch_4.pth'):
    given = args[args.index('--resume') + 1]
    steps = [] if given == '--cfg-options' else [4]  # at its end, or from the checkpoint before
with open(stamp / 'scalars.json', 'w') as log:
    for step in steps:
        log.write(json.dumps(dict(loss=1.0 / step, lr=0.1, step=step, memory=700)) + chr(10))
        top1 = 50.0 + seed + (5 if step == 3 else step)
        # mmengine logs evaluations under the epoch, which an iteration-based loop leaves at 0
        log.write(json.dumps({'shot/all_top1': top1, 'shot/few_top1': 10.0,
                              'step': 0 if 'iterations' in options else step}) + chr(10))
        log.flush()
last = work / f'epoch_{4 if resumed else 2}.pth'
last.write_text('weights')
(work / 'last_checkpoint').write_text(str(last))
(work / 'calls.txt').open('a').write(json.dumps(args) + chr(10))
(work / 'pid').write_text(str(os.getpid()))
if 'memory' in options:
    block = bytearray(int(options['memory']) << 20)
    block[::4096] = bytes(len(block[::4096]))
if 'sleep' in options and not resumed:
    time.sleep(float(options['sleep']))
'''


@pytest.fixture
def project(tmp_path):
    root = tmp_path / 'project'
    (root / 'tools').mkdir(parents=True)
    (root / 'tools' / 'train.py').write_text(TRAIN)
    return root


@pytest.fixture
def make_table(tmp_path):
    """A function: rows to a table read from a file."""

    def make(*rows, **fields):
        path = Path(tmp_path) / 'some-table.json'
        data = dict(title='A table', seeds=[0, 1], schedule='short', rows=list(rows), **fields)
        path.write_text(json.dumps(data))
        return load_table(str(path))

    return make
