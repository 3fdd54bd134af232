"""Print a config as it is after inheritance and ``--cfg-options``."""
import argparse
import os.path as osp
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this checkout, installed or not

from mmengine.config import Config, DictAction  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description='Print a resolved config.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='settings of the config to change')
    parser.add_argument('--save-path', help='also write the config to this file (.py, .json or .yml)')
    args = parser.parse_args()
    if not osp.isfile(args.config):
        parser.error(f'the config file {args.config!r} does not exist')
    if args.save_path is not None and not args.save_path.endswith(('.py', '.json', '.yml', '.yaml')):
        parser.error(f'--save-path {args.save_path!r} must end in .py, .json, .yml or .yaml')
    return args


def main():
    args = parse_args()
    # without custom_imports: they change no config, and those of this package take 10 seconds
    cfg = Config.fromfile(args.config, import_custom_modules=False)
    cfg.merge_from_dict(args.cfg_options or {})
    print(cfg.pretty_text)
    if args.save_path is not None:
        cfg.dump(args.save_path)


if __name__ == '__main__':
    main()
