"""The end of a detector with 1,203 classes at test, beside mmdet's heads: candidates, mask logits, paste and RLE.

Candidates: both heads get the same proposals, logits and deltas, and give the detections of an image (softmax, decoding
and NMS are timed). Equal means: on each of some images, bit by bit what mmdet's own decoding and NMS give if each class
goes through them alone, so that nothing is added to its boxes. How many of mmdet's detections differ is printed, and
whether shifting the boxes of each class in float32, as mmcv does to keep classes apart, explains all of mmdet's.

Mask logits: RoI features to the probabilities of the predicted class. Equal means the same set of pixels at 0.5; how
many differ, being within rounding of 0.5, is printed.

Paste and RLE: probabilities and boxes to encoded masks of the image, mmdet's with its own `encode_mask_results`. Equal
means the same bytes. On a GPU a pixel within rounding of 0.5 may differ here too; how many masks do is printed.

    python tools/benchmarks/detection_tail.py --json detection_tail.json
    python tools/benchmarks/detection_tail.py --device cuda
    python tools/benchmarks/detection_tail.py --parts masks --predictor NormedConv2d
"""
import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]  # the package of this checkout, installed or not, and the harness

import torch  # noqa: E402
from harness import Record, add_arguments, compare, finish, hardware, interleave, prepare  # noqa: E402
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402
from tail_data import HEIGHT, ORIGINAL, SCORE_THR, WIDTH, detections, proposals  # noqa: E402
from torch import Tensor  # noqa: E402

PLACE = 'Detection tail'
PARTS = ('candidates', 'masks', 'paste')
IOU = 0.5


def build(**cfg) -> torch.nn.Module:
    """A head of mmdet or ours, for test."""
    from mmdet.registry import MODELS

    import nbn_mm  # noqa: F401, registers the heads
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg).eval()


def class_by_class(head: torch.nn.Module, given: tuple, meta: dict, cfg: ConfigDict, shifted: bool) -> Tensor:
    """mmdet's decoding of all boxes, and its NMS of one class after the other; rows of box, score and label.

    With ``shifted``, the boxes of each class are moved as mmcv's ``batched_nms`` does it, for the NMS alone.
    """
    from mmcv.ops import nms
    raw = head._predict_by_feat_single(*given, meta, False, None)
    boxes = raw.bboxes.view(len(raw.scores), -1, 4).expand(-1, raw.scores.size(1) - 1, 4)
    valid = raw.scores[:, :-1] > cfg.score_thr
    shift = boxes[valid].max() + 1 if valid.any() else 0.
    rows = []
    for label in valid.any(0).nonzero().squeeze(1).tolist():
        own, scores = boxes[valid[:, label], label], raw.scores[valid[:, label], label]
        moved = own + torch.tensor(label, dtype=own.dtype, device=own.device) * shift if shifted else own
        keep = nms(moved.contiguous(), scores.contiguous(), cfg.nms.iou_threshold)[1]
        rows.append(torch.cat([own[keep], scores[keep, None], torch.full_like(scores[keep, None], label)], 1))
    rows = torch.cat(rows) if rows else boxes.new_zeros(0, 6)
    return rows[rows[:, 4].argsort(descending=True, stable=True)][:cfg.max_per_img]


def as_set(rows: Tensor) -> set:
    """Detections as tuples, without their order."""
    return set(map(tuple, rows.tolist()))


def candidates(args: argparse.Namespace, agnostic: bool) -> list[Record]:
    """From logits and deltas to detections, at each number of candidates."""
    options = dict(in_channels=1, fc_out_channels=1, roi_feat_size=1, num_classes=args.classes,
                   reg_class_agnostic=agnostic)
    heads = {name: build(type=kind, **options) for name, kind in
             (('ours', 'FastShared2FCBBoxHead'), ('host', 'Shared2FCBBoxHead'))}
    cfg = ConfigDict(score_thr=SCORE_THR, nms=dict(type='nms', iou_threshold=IOU), max_per_img=args.detections)
    meta = dict(img_shape=(HEIGHT, WIDTH), scale_factor=(WIDTH / ORIGINAL[1], HEIGHT / ORIGINAL[0]))

    def image(number: int, seed: int) -> tuple[Tensor, ...]:
        rois, logits = proposals(args.proposals, args.classes, number, seed)
        deltas = 0.5 * torch.randn(len(rois), 4 if agnostic else 4 * args.classes,
                                   generator=torch.Generator().manual_seed(seed))
        return tuple(tensor.to(args.device) for tensor in (rois, logits, deltas))

    def run(name: str, given: tuple) -> Tensor:
        found = heads[name]._predict_by_feat_single(*given, meta, False, cfg)
        return torch.cat([found.bboxes, found.scores[:, None], found.labels[:, None]], 1)

    records = []
    for number in args.candidates:
        given = image(number, 0)
        times = interleave({name: lambda name=name, given=given: run(name, given) for name in heads}, args.runs,
                           args.device)
        equal, explained, differing, total = True, True, 0, 0
        for seed in range(args.images):
            given = image(number, seed)
            host = as_set(run('host', given))
            exact, shifted = (class_by_class(heads['host'], given, meta, cfg, shifted) for shifted in (False, True))
            equal &= torch.equal(run('ours', given), exact)
            explained &= host == as_set(shifted)
            differing, total = differing + len(host - as_set(exact)), total + len(host)
        print(f'  mmdet: {differing} of {total} detections of {args.images} images are not those of NMS within '
              f"classes; shifting the boxes of each class in float32 explains all of mmdet's: {explained}")
        boxes = 'one box for all classes' if agnostic else 'a box a class'
        records.append(compare(PLACE, f'{number} candidates, {args.proposals} x {args.classes}, {boxes}', times['ours'],
                               times['host'], equal=equal, device=args.device, threads=args.threads))
    return records


def masks(args: argparse.Namespace, predictor: str) -> list[Record]:
    """From RoI features to the probabilities of the predicted class."""
    cfg = dict(type=predictor)
    ours, host = (build(type=kind, num_classes=args.classes, num_convs=args.convs, in_channels=args.width,
                        conv_out_channels=args.width, predictor_cfg=cfg).to(args.device)
                  for kind in ('FastFCNMaskHead', 'FCNMaskHead'))
    for parameter in host.parameters():
        torch.nn.init.normal_(parameter, std=(2 / max(parameter[0].numel(), 1))**0.5 if parameter.dim() > 1 else 0.1)
    ours.load_state_dict(host.state_dict())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(args.detections, args.width, 14, 14, generator=generator).to(args.device)
    labels = torch.randint(args.classes, (args.detections, ), generator=generator).to(args.device)
    results = {}

    def run_ours() -> None:
        with ours.predicting(labels):
            results['ours'] = ours(x).sigmoid()[:, 0]

    def run_host() -> None:
        results['host'] = host(x).sigmoid()[torch.arange(len(labels), device=labels.device), labels]

    times = interleave(dict(ours=run_ours, host=run_host), args.runs, args.device)
    found = {name: map_ >= 0.5 for name, map_ in results.items()}
    differing = int((found['ours'] != found['host']).sum())
    apart = (results['ours'] - results['host']).abs().max().item()
    print(f'  {differing} of {found["host"].numel()} pixels differ at 0.5, {int(found["host"].sum())} are set; the '
          f'probabilities are at most {apart:.1g} apart')
    setting = f'mask logits, {args.detections} detections x {args.classes} classes, {predictor}'
    first = compare(PLACE, setting, times['ours'], times['host'], equal=differing == 0, device=args.device,
                    threads=args.threads)
    peaks = times['ours'].peak, times['host'].peak
    print(f'  {(peaks[1] - peaks[0]) / 1e9:.2f} GB less at the peak')
    return [first, Record(PLACE, f'{setting}, peak memory', peaks[0], peaks[1], 'bytes', peaks[1] / max(peaks[0], 1),
                          first.equal, peaks[0], hardware(args.device, args.threads))]


def paste(args: argparse.Namespace) -> list[Record]:
    """From mask probabilities and boxes to encoded masks of the whole image."""
    from mmdet.structures.mask import encode_mask_results
    ours, host = (build(type=kind, num_classes=args.classes, num_convs=0, in_channels=1, conv_out_channels=1)
                  for kind in ('FastFCNMaskHead', 'FCNMaskHead'))
    boxes, logits = (tensor.to(args.device) for tensor in detections(args.detections))
    labels = torch.zeros(len(boxes), dtype=torch.long, device=args.device)
    meta = dict(ori_shape=ORIGINAL, scale_factor=(1., 1.))
    results = {}

    def run_ours() -> None:
        cfg = ConfigDict(mask_thr_binary=0.5, mask_format='rle')
        results['ours'] = ours._predict_by_feat_single(logits, boxes.clone(), labels, meta, cfg, True)

    def run_host() -> None:
        cfg = ConfigDict(mask_thr_binary=0.5)
        dense = host._predict_by_feat_single(logits, boxes.clone(), labels, meta, cfg, True)
        results['host'] = encode_mask_results(dense.detach().cpu().numpy())

    times = interleave(dict(ours=run_ours, host=run_host), args.runs, args.device)
    equal = results['ours'] == results['host']
    differing = sum(a != b for a, b in zip(results['ours'], results['host'], strict=True))
    print(f'  {differing} of {len(boxes)} masks differ by some pixel within rounding of 0.5')
    height, width = ORIGINAL
    return [compare(PLACE, f'paste and RLE, {len(boxes)} detections in {width} x {height}', times['ours'],
                    times['host'], equal=equal, device=args.device, threads=args.threads)]


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description="The end of a detector with many classes, beside mmdet's heads.")
    add_arguments(parser)
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS), help='what to measure (default: all)')
    parser.add_argument('--candidates', type=int, nargs='+', default=[3000, 30000, 300000],
                        help='scores above the threshold (default: 3000 30000 300000)')
    parser.add_argument('--proposals', type=int, default=1000, help='proposals of the image (default: 1000)')
    parser.add_argument('--classes', type=int, default=1203, help='classes (default: 1203)')
    parser.add_argument('--detections', type=int, default=300, help='detections of the image (default: 300)')
    parser.add_argument('--images', type=int, help='images on which detections are compared (default: 10; 2 with '
                        '--quick)')
    parser.add_argument('--predictor', nargs='+', choices=('Conv', 'NormedConv2d'), help='of the mask head (default: '
                        'both; Conv alone with --quick)')
    parser.add_argument('--convs', type=int, default=4, help='convolutions of the mask head (default: 4)')
    parser.add_argument('--width', type=int, default=256, help='channels of the mask head (default: 256)')
    args = parser.parse_args()
    args.images = args.images if args.images is not None else 2 if args.quick else 10
    sizes = [*args.candidates, args.proposals, args.classes, args.detections, args.width, args.images]
    if min(sizes) < 1 or args.convs < 0:
        parser.exit(1, 'error: --candidates, --proposals, --classes, --detections, --images and --width must be at '
                    'least 1, --convs at least 0.\n')
    if args.classes * args.proposals < max(args.candidates):
        parser.exit(1, f'error: --candidates={max(args.candidates)} is more than --proposals={args.proposals} times '
                    f'--classes={args.classes}.\n')
    prepare(parser, args)
    records = []
    with torch.no_grad():
        if 'candidates' in args.parts:
            for agnostic in (False, ) if args.quick else (False, True):
                records += candidates(args, agnostic)
        if 'paste' in args.parts:
            records += paste(args)
        if 'masks' in args.parts:
            args.detections = min(args.detections, 60) if args.quick else args.detections
            for predictor in args.predictor or (('Conv', ) if args.quick else ('Conv', 'NormedConv2d')):
                records += masks(args, predictor)
    finish(records, args.json)


if __name__ == '__main__':
    main()
