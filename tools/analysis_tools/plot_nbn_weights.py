"""Plot the sorted |weight| of NBN layers (effective weights), beside the same layers of BN networks."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package of this checkout, installed or not

import nbn_mm  # noqa: E402, F401, registers NBN
from nbn_mm.engine.norm_weights import collect_norm_weights  # noqa: E402
from nbn_mm.evaluation.functional import parse_named_paths  # noqa: E402
from nbn_mm.visualization import check_figure_path, plot_sorted_weights, save_figure  # noqa: E402


def main() -> None:
    """Parse the arguments and write the figure."""
    parser = argparse.ArgumentParser(
        description='Sorted |weight| of norm layers: effective weights of NBN, affine weights of BN. A BN checkpoint '
        'gives the layers that are NBN in the others, unless --layers chooses.')
    parser.add_argument('checkpoints', nargs='+', metavar='name=checkpoint', help='a checkpoint of mmengine')
    parser.add_argument('--out', required=True, metavar='FILE', help='figure to write: .png, .pdf or .svg')
    parser.add_argument('--layers', metavar='REGEX', help="norm layers to take by name, e.g. 'layer4.*bn2'")
    parser.add_argument('--relative', action='store_true', help='divide each curve by its mean, to compare shapes')
    parser.add_argument('--title', default='Sorted weights of the norm layers')
    args = parser.parse_args()
    try:
        check_figure_path(args.out)
        weights = collect_norm_weights(parse_named_paths(args.checkpoints), args.layers)
        figure = plot_sorted_weights(weights, relative=args.relative, title=args.title)
    except (ValueError, OSError) as error:
        parser.exit(1, f'error: {error}\n')
    save_figure(figure, args.out)
    print(f'wrote {args.out}: ' + '; '.join(f'{name}: {len(layers)} layers' for name, layers in weights.items()))


if __name__ == '__main__':
    main()
