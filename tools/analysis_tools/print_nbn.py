"""Print what NBN's directions and magnitudes have become in checkpoints, as a Markdown table."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package of this checkout, installed or not

import nbn_mm  # noqa: E402, F401, registers NBN
from nbn_mm.engine.norm_weights import nbn_vectors  # noqa: E402
from nbn_mm.evaluation.functional import parse_named_paths  # noqa: E402

COLUMNS = dict(magnitude='magnitude g', weight_norm='‖w‖', spread='spread of w̃', bias_norm='‖b‖',
               effective_bias_norm='‖b̃‖')


def main() -> None:
    """Parse the arguments and print the table."""
    parser = argparse.ArgumentParser(
        description='What has become of NBN in checkpoints. ‖w‖ starts at the root of the number of channels, the '
        'spread (standard deviation of the effective weights over their mean) at 0. A ‖b‖ in the thousands says that '
        'the published formula caught the bias at 0: its direction hardly moves any more (see zero_bias).')
    parser.add_argument('checkpoints', nargs='+', metavar='name=checkpoint', help='a checkpoint of mmengine')
    args = parser.parse_args()
    lines = ['| run | layer | ' + ' | '.join(COLUMNS.values()) + ' |', '|---|---|' + '--:|' * len(COLUMNS)]
    try:
        for name, path in parse_named_paths(args.checkpoints):
            lines += [f'| {name} | {each["layer"]} | ' + ' | '.join(f'{each[key]:.4g}' for key in COLUMNS) + ' |'
                      for each in nbn_vectors(path)]
    except (ValueError, OSError) as error:
        parser.exit(1, f'error: {error}\n')
    print('\n'.join(lines))


if __name__ == '__main__':
    main()
