#!/usr/bin/env python
"""Write a calibrated copy of a trained checkpoint, and its config: logit adjustment, LogN, tau-normalisation or IIF."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package of this checkout, installed or not


def main() -> None:
    """Parse the arguments, convert and say what was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the trained network')
    parser.add_argument('checkpoint', help='checkpoint to calibrate')
    parser.add_argument('out', help='checkpoint to write (.pth); its config is written beside it as .py')
    parser.add_argument('--method', required=True, choices=['logit_adjustment', 'logn', 'tau_norm', 'iif'])
    parser.add_argument('--tau', type=float, help='of logit_adjustment and tau_norm (default: 1)')
    parser.add_argument('--keep-bias', action='store_true', help='tau_norm keeps the bias, which the paper discards')
    parser.add_argument('--iif', choices=['raw', 'smooth'], default='raw',
                        help='weights of iif: log(N / n), or log((N + 1) / (n + 1)) + 1 (default: raw)')
    parser.add_argument('--num-batches', type=int, metavar='N',
                        help='logn of a detector: take the statistics of N batches of the training set (default: all)')
    parser.add_argument('--work-dir', help='folder of the log of the pass over the training set')
    args = parser.parse_args()
    from nbn_mm.engine.launch import LaunchError  # imports both hosts: after what --help needs
    from nbn_mm.engine.posthoc_checkpoint import posthoc_checkpoint
    try:
        print(posthoc_checkpoint(**vars(args)))
    except (LaunchError, ValueError, RuntimeError, OSError) as error:
        parser.exit(1, f'error: {error}\n')
    print(f'{args.out} goes with {Path(args.out).with_suffix(".py")}.')


if __name__ == '__main__':
    main()
