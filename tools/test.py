"""Test a model: ``python tools/test.py CONFIG CHECKPOINT [options of the host of the config's default_scope]``."""
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this checkout, installed or not

from mmengine.config import DictAction  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description='Test a model.', argument_default=argparse.SUPPRESS)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder of the logs; default: that of the config, '
                        'else work_dirs/NAME_OF_CONFIG')
    parser.add_argument('--out', help='file for the predictions (.pkl), or for what --out-item says')
    parser.add_argument('--out-item', choices=['metrics', 'pred'],
                        help='[mmpretrain] what --out holds; default: predictions')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='settings of the config to change, e.g. test_dataloader.batch_size=64 key="[a,b]"')
    parser.add_argument('--amp', action='store_true', help='[mmpretrain] automatic mixed precision')
    parser.add_argument('--show-dir', help='folder for the images with their predictions')
    parser.add_argument('--show', action='store_true', help='show the images in a window')
    parser.add_argument('--interval', type=int, help='[mmpretrain] draw every n-th image; default 1')
    parser.add_argument('--wait-time', type=float, help='seconds that a window stays; default 2')
    parser.add_argument('--no-pin-memory', action='store_true', help='[mmpretrain] dataloader without pin_memory')
    parser.add_argument('--tta', action='store_true',
                        help='test-time augmentation: tta_model and tta_pipeline of the config, else flips')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], help='what started the processes')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by torch.distributed.launch')
    args = vars(parser.parse_args())
    os.environ.setdefault('LOCAL_RANK', str(args.pop('local_rank')))
    return args


if __name__ == '__main__':
    options = parse_args()
    from nbn_mm.engine.launch import LaunchError, test  # imports both hosts: after what --help needs
    try:
        test(**options)
    except LaunchError as error:
        sys.exit(f'error: {error}')
