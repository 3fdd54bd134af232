"""Several processes: the shell scripts run for real, over gloo on the CPU."""

import json
import os
import re
import socket
import subprocess
import sys

import pytest
import torch
from mmengine.dataset import DefaultSampler
from tool_process import ROOT, Tool, run_tool

# Stands beside the configs and is imported by them: which images a rank saw at each step, and the loss.
BATCH_LOG = """
import json
import os

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class BatchLogHook(Hook):

    def before_train(self, runner):
        self.steps = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps.append([[sample.img_path for sample in data_batch['data_samples']], float(outputs['loss'])])

    def after_train(self, runner):
        with open(os.path.join(runner.work_dir, f'rank_{runner.rank}.json'), 'w') as file:
            json.dump(self.steps, file)
"""
# A module that makes a run float64, where 21 steps do not blow rounding up: what remains is what differs.
FLOAT64 = """
import torch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import MODELS

torch.set_default_dtype(torch.float64)


@MODELS.register_module()
class Float64Preprocessor(ClsDataPreprocessor):

    def forward(self, data, training=False):
        data = super().forward(data, training)
        data['inputs'] = data['inputs'].double()
        return data
"""
SYNC = """
data_preprocessor['type'] = 'Float64Preprocessor'
custom_imports['imports'] = ['nbn_mm', 'batch_log', 'float64']
model['backbone'] = dict(type='NBNBackbone', base='ResNet', depth=18, stem_channels=8, base_channels=8,
                         out_indices=(3, ), nbn=dict(sync=True, zero_bias='smooth'))
model['head'] = dict(
    type='LongTailClsHead', num_classes=3, in_channels=64, loss=dict(type='CrossEntropyLoss'), topk=(1, ),
    predictor=dict(type='RectifiedPredictor', base='Linear', rectification=dict(sync=True)))
"""
PLAIN = """
custom_imports['imports'] = ['nbn_mm', 'batch_log']
optim_wrapper['optimizer']['lr'] = 0.002
"""
STEPS = """
global_batch_size = 6
train_cfg = dict(by_epoch=True, max_epochs={epochs})
val_cfg = val_dataloader = val_evaluator = None
custom_hooks = [dict(type='BatchLogHook')]
default_hooks['checkpoint'] = dict(type='CheckpointHook', interval={epochs})
"""
CPU = dict(CUDA_VISIBLE_DEVICES='-1')


@pytest.fixture(scope='module')
def write(tmp_path_factory, cls_config):
    """Writes a config beside the module that it imports; the folder goes to PYTHONPATH."""
    folder = tmp_path_factory.mktemp('dist')
    (folder / 'batch_log.py').write_text(BATCH_LOG)
    (folder / 'float64.py').write_text(FLOAT64)

    def write(name, *parts, epochs=7):
        path = folder / f'{name}.py'
        path.write_text('\n'.join([cls_config.read_text(), *parts, STEPS.replace('{epochs}', str(epochs))]))
        return path

    return write


def _environment(config, **variables):
    path = os.pathsep.join([str(config.parent), str(ROOT)])
    removed = {'PORT', 'NNODES', 'NODE_RANK', 'MASTER_ADDR', 'OMP_NUM_THREADS'}
    kept = {key: value for key, value in os.environ.items() if key not in removed}
    return {**kept, 'PYTHONPATH': path, 'PYTHON': sys.executable, **CPU, **variables}


def _start(script, *args, config, **variables):
    return subprocess.Popen(
        ['bash', str(ROOT / 'tools' / script), *map(str, args)],
        env=_environment(config, **variables),
        cwd=config.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process, timeout=180):
    try:
        output = process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, output


def _one_process(config, work_dir):
    code, output = run_tool('train.py', config, '--work-dir', work_dir, cwd=work_dir.parent, path=[str(config.parent)])
    assert code == 0, output


def _steps(work_dir, ranks):
    """Per step: the images of all ranks, sorted, and the mean loss."""
    logs = [json.loads((work_dir / f'rank_{rank}.json').read_text()) for rank in range(ranks)]
    return (
        [sorted(sum((paths for paths, _ in step), [])) for step in zip(*logs, strict=True)],
        [sum(loss for _, loss in step) / ranks for step in zip(*logs, strict=True)],
    )


def _state(work_dir):
    return torch.load(work_dir / 'epoch_7.pth', weights_only=False)['state_dict']


def test_two_processes_equal_one(write, tmp_path):
    """dist_train.sh with 2 processes: the same global batches, losses and weights as one process after 21 steps."""
    config = write('sync', SYNC)
    with socket.socket() as busy:  # the hosts' default port is taken and PORT is unset: a free one is found
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            busy.bind(('', 29500))
            busy.listen()
        except OSError:
            pass  # taken by somebody else, which does as well
        two = _start('dist_train.sh', config, 2, '--work-dir', tmp_path / 'two', config=config)
        _one_process(config, tmp_path / 'one')
        code, output = _finish(two)
    assert code == 0, output
    assert 'No GPU is visible: 2 process(es) on the CPU over gloo.' in output
    assert 'global_batch_size=6: 2 process(es) with train_dataloader.batch_size=3' in output
    images, losses = _steps(tmp_path / 'one', 1)
    images_of_two, losses_of_two = _steps(tmp_path / 'two', 2)
    assert len(images) == 21 and all(len(step) == 6 for step in images)
    assert images_of_two == images
    assert losses_of_two == pytest.approx(losses, rel=1e-8)
    one, two = _state(tmp_path / 'one'), _state(tmp_path / 'two')
    assert 'backbone.nbn.magnitude' in one and 'head.fc.logit_rectification.running_mean' in one
    assert one['head.fc.weight'].dtype == torch.float64
    assert abs(float(one['backbone.nbn.magnitude']) - 1) > 1e-3 and losses[-1] < losses[0], 'the runs did learn'
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-8, atol=1e-8, msg=lambda text, key=key: f'{key}: {text}')


def test_statistics_per_rank_follow_the_curve(write, tmp_path):
    """Plain BN takes its statistics from a rank's own rows: not equal, but the losses stay together."""
    config = write('plain', PLAIN)
    _one_process(config, tmp_path / 'one')
    _ranks('train.py', [config, '--work-dir', tmp_path / 'two'], tmp_path, [str(config.parent)])
    images, losses = _steps(tmp_path / 'one', 1)
    images_of_two, losses_of_two = _steps(tmp_path / 'two', 2)
    assert images_of_two == images
    assert losses_of_two != pytest.approx(losses, rel=1e-5)
    for steps in (slice(0, 5), slice(16, 21)):
        assert sum(losses_of_two[steps]) / 5 == pytest.approx(sum(losses[steps]) / 5, abs=0.15)
    assert sum(losses[16:]) < sum(losses[:5]) and sum(losses_of_two[16:]) < sum(losses_of_two[:5])


def _free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def _ranks(script, args, cwd, path, processes=2):
    """The processes that torchrun would start, without its start."""
    port = str(_free_port())
    ranks = [
        Tool(
            script,
            [*args, '--launcher', 'pytorch'],
            cwd,
            dict(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(processes),
                LOCAL_WORLD_SIZE=str(processes),
                MASTER_ADDR='127.0.0.1',
                MASTER_PORT=port,
            ),
            path,
        )
        for rank in range(processes)
    ]
    for rank in ranks:
        code, output = rank.wait()
        assert code == 0, output


def test_two_machines(write, tmp_path):
    """Two nodes on the loopback address."""
    config = write('nodes', PLAIN, epochs=1)
    port = _free_port()
    nodes = [
        _start(
            'dist_train.sh',
            config,
            1,
            '--work-dir',
            tmp_path / 'nodes',
            config=config,
            NNODES='2',
            NODE_RANK=str(rank),
            MASTER_ADDR='127.0.0.1',
            PORT=str(port),
        )
        for rank in range(2)
    ]
    for node in nodes:
        code, output = _finish(node)
        assert code == 0, output
    for rank in range(2):
        assert len(json.loads((tmp_path / 'nodes' / f'rank_{rank}.json').read_text())) == 3
    assert (tmp_path / 'nodes' / 'epoch_1.pth').is_file()


def test_testing_in_processes(tmp_path, cls_config, cls_run):
    """dist_test.sh, and two processes: the metrics are those of one process."""
    checkpoint, metrics = cls_run[0] / 'epoch_2.pth', []
    options = ['--out-item', 'metrics', '--work-dir', tmp_path / 'logs']
    for name in ('script', 'two', 'one'):
        args = [cls_config, checkpoint, '--out', tmp_path / f'{name}.json', *options]
        if name == 'script':
            code, output = _finish(_start('dist_test.sh', *args[:2], 1, *args[2:], config=cls_config))
            assert code == 0, output
        elif name == 'two':
            _ranks('test.py', args, tmp_path, [])
        else:
            assert run_tool('test.py', *args, cwd=tmp_path)[0] == 0
        metrics.append(json.loads((tmp_path / f'{name}.json').read_text()))
    assert 'accuracy/top1' in metrics[0]
    for key in metrics[0]:
        if 'time' not in key:
            assert metrics[0][key] == metrics[1][key] == metrics[2][key]


@pytest.mark.parametrize(
    'script, args, environment, message',
    [
        ('dist_train.sh', ('c.py',), {}, 'usage: .*dist_train.sh CONFIG N'),
        ('dist_test.sh', ('c.py', 'c.pth'), {}, 'usage: .*dist_test.sh CONFIG CHECKPOINT N'),
        ('dist_train.sh', ('c.py', 'two'), {}, "the number of processes is 'two', not a positive number"),
        ('dist_test.sh', ('c.py', 'c.pth', '0'), {}, "the number of processes is '0', not a positive number"),
        (
            'dist_train.sh',
            ('c.py', '1'),
            dict(NNODES='2', NODE_RANK='2'),
            'NODE_RANK=2 must lie in 0 .. NNODES-1 with NNODES=2',
        ),
        ('slurm_train.sh', ('p', 'j', 'c.py'), {}, 'usage: .*slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR'),
        ('slurm_test.sh', ('p', 'j', 'c.py'), {}, 'usage: .*slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT'),
    ],
)
def test_script_refusals(write, script, args, environment, message):
    code, output = _finish(_start(script, *args, config=write('unused'), **environment))
    assert code == 2 and re.search(message, output), output


def test_more_processes_than_gpus_are_refused_before_the_start(write, tmp_path):
    """The script asks torch; a torch that sees two GPUs stands in for the machine."""
    (tmp_path / 'torch.py').write_text(
        'class cuda:\n    is_available = staticmethod(lambda: True)\n    device_count = staticmethod(lambda: 2)\n'
    )
    code, output = _finish(_start('dist_train.sh', 'c.py', 4, config=write('unused'), PYTHONPATH=str(tmp_path)))
    assert code == 2
    assert re.search(r'4 processes need 4 GPUs, but 2 are visible \(CUDA_VISIBLE_DEVICES=-1\)', output)


@pytest.fixture
def slurm(tmp_path):
    """Stand-ins of srun, which notes its command line, and scontrol; the environment that reaches them."""
    (tmp_path / 'srun').write_text('#!/usr/bin/env bash\necho "srun $*" >> "$SRUN_LOG"\n')
    (tmp_path / 'scontrol').write_text(
        '#!/usr/bin/env bash\n[[ $* == "show hostnames node[1-2]" ]] || exit 1\necho 127.0.0.1\necho 127.0.0.2\n'
    )
    for name in ('srun', 'scontrol'):
        (tmp_path / name).chmod(0o755)
    return dict(PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', SRUN_LOG=str(tmp_path / 'log'))


def test_slurm_scripts(cls_config, tmp_path, slurm):
    variables = dict(config=cls_config, GPUS='4', PYTHON='python', SRUN_ARGS='--time=1:00 --qos=low', **slurm)
    code, output = _finish(
        _start(
            'slurm_train.sh',
            'part',
            'job',
            'c.py',
            'run dir',
            '--cfg-options',
            'randomness.seed=3',
            GPUS_PER_NODE='0',
            **variables,
        )
    )
    assert code == 0, output
    code, output = _finish(
        _start(
            'slurm_test.sh', 'part', 'job', 'c.py', 'c.pth', '--tta', GPUS_PER_NODE='2', CPUS_PER_TASK='1', **variables
        )
    )
    assert code == 0, output
    tools = ROOT / 'tools'
    assert (tmp_path / 'log').read_text().splitlines() == [
        'srun -p part --job-name=job --ntasks=4 --cpus-per-task=5 --kill-on-bad-exit=1 --time=1:00 --qos=low python -u '
        f'{tools}/train.py c.py --work-dir=run dir --launcher=slurm --cfg-options randomness.seed=3',
        'srun -p part --job-name=job --gres=gpu:2 --ntasks-per-node=2 --ntasks=4 --cpus-per-task=1 '
        f'--kill-on-bad-exit=1 --time=1:00 --qos=low python -u {tools}/test.py c.py c.pth --launcher=slurm --tta',
    ]


def test_processes_of_slurm(write, tmp_path, slurm):
    """What srun starts, over gloo: the first machine of the node list is the meeting point."""
    config = write('slurm', PLAIN, epochs=1)
    port = str(_free_port())
    tasks = [
        Tool(
            'train.py',
            [config, '--work-dir', tmp_path / 'run', '--launcher=slurm'],
            tmp_path,
            dict(
                SLURM_PROCID=str(rank),
                SLURM_LOCALID=str(rank),
                SLURM_NTASKS='2',
                SLURM_NODELIST='node[1-2]',
                MASTER_PORT=port,
                PATH=slurm['PATH'],
            ),
            [str(config.parent)],
        )
        for rank in range(2)
    ]
    for task in tasks:
        code, output = task.wait()
        assert code == 0, output
    assert (tmp_path / 'run' / 'rank_0.json').is_file() and (tmp_path / 'run' / 'rank_1.json').is_file()


def test_ranks_of_the_sampler_divide_the_global_batches():
    """What the equality above rests on: rank r takes every W-th index from r on."""
    one, two = DefaultSampler(range(18), seed=5), [DefaultSampler(range(18), seed=5) for _ in range(2)]
    for rank, sampler in enumerate(two):
        sampler.rank, sampler.world_size, sampler.num_samples = rank, 2, 9
    indices, halves = list(one), [list(sampler) for sampler in two]
    for step in range(3):
        assert sorted(halves[0][3 * step : 3 * step + 3] + halves[1][3 * step : 3 * step + 3]) == sorted(
            indices[6 * step : 6 * step + 6]
        )
