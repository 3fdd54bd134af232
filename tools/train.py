"""Train a model: ``python tools/train.py CONFIG [options of the host named by the config's default_scope]``."""
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this checkout, installed or not

from mmengine.config import DictAction  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description='Train a model.', argument_default=argparse.SUPPRESS)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder of logs and checkpoints; default: that of the config, '
                        'else work_dirs/NAME_OF_CONFIG')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='auto|PATH',
                        help='continue from a checkpoint; without a path, from the latest of the work dir')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision (needs a GPU)')
    parser.add_argument('--no-validate', action='store_true', help='[mmpretrain] do not evaluate during training')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate from auto_scale_lr.base_batch_size to the actual total batch')
    parser.add_argument('--no-pin-memory', action='store_true', help='[mmpretrain] dataloaders without pin_memory')
    parser.add_argument('--no-persistent-workers', action='store_true',
                        help='[mmpretrain] dataloaders without persistent workers')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='settings of the config to change, e.g. train_dataloader.batch_size=64 key="[a,b]"')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], help='what started the processes')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by torch.distributed.launch')
    args = vars(parser.parse_args())
    os.environ.setdefault('LOCAL_RANK', str(args.pop('local_rank')))
    return args


if __name__ == '__main__':
    options = parse_args()
    from nbn_mm.engine.launch import LaunchError, RunStopped, train  # imports both hosts: after what --help needs
    try:
        train(**options)
    except (LaunchError, RunStopped) as error:
        sys.exit(f'error: {error}')
