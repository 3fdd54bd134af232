#!/usr/bin/env python
"""Save the logits of a data set, with labels, class counts and the linear classifier, for post-hoc calibration."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package of this checkout, installed or not

from mmengine.config import DictAction  # noqa: E402


def main() -> None:
    """Parse the arguments, run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of a classifier')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='test',
                        help='which set; the training set goes through the test pipeline (default: test)')
    parser.add_argument('--out', required=True, metavar='FILE.npz', help='the file to write')
    parser.add_argument('--features', action='store_true', help='also keep what the classifier gets')
    parser.add_argument('--work-dir', help='folder of the log; default: that of the config')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='settings of the config to change')
    args = parser.parse_args()
    from nbn_mm.engine.launch import LaunchError  # imports both hosts: after what --help needs
    from nbn_mm.engine.save_logits import save_logits
    from nbn_mm.evaluation.functional.saved_logits import check_logits_path, write_logits
    try:
        check_logits_path(args.out)
        saved = save_logits(args.config, args.checkpoint, args.split, args.features, args.work_dir, args.cfg_options)
        write_logits(saved, args.out)
    except (LaunchError, ValueError, RuntimeError, OSError) as error:
        parser.exit(1, f'error: {error}\n')
    print(f'{len(saved.labels)} images of the {saved.split} set, {len(saved.classes)} classes, '
          f"{'with' if saved.weight is not None else 'without'} a linear classifier: {args.out}")


if __name__ == '__main__':
    main()
