"""Draw predictions: ``python tools/infer.py CONFIG CHECKPOINT PICTURES --out-dir DIR``."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this checkout, installed or not

from mmengine.config import DictAction  # noqa: E402

from nbn_mm.engine.inference import infer  # noqa: E402
from nbn_mm.engine.launch import LaunchError  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description='Predict pictures and draw the predictions.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file; its class names are drawn')
    parser.add_argument('pictures', help='a picture, or a folder of pictures')
    parser.add_argument('--out-dir', default='outputs', help='folder of the drawn pictures; default: %(default)s')
    parser.add_argument('--score-thr', type=float, default=0.3,
                        help='detections with a lower score are not drawn; default: %(default)s')
    parser.add_argument('--device', help='cuda:0, cpu, …; default: a GPU if there is one')
    parser.add_argument('--save-predictions', action='store_true',
                        help="[mmdet] also write one JSON file a picture into OUT_DIR/preds")
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='settings of the config to change')
    return vars(parser.parse_args())


if __name__ == '__main__':
    args = parse_args()
    try:
        predictions = infer(**args)
    except LaunchError as error:
        sys.exit(f'error: {error}')
    print(f"{len(predictions)} pictures drawn into {args['out_dir']}")
