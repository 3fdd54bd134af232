"""NMS on the best candidates against NMS over all of them, one box at a time."""
import pytest
import torch
from references.per_class_nms import per_class_nms

from nbn_mm.models.layers import candidate_nms as candidates_module
from nbn_mm.models.layers.candidate_nms import best, candidate_nms
from nbn_mm.models.layers.nms_options import NMSOptions


def case(rows, classes, spread=20., seed=0, ties=False, shared=False):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(rows, 1 if shared else classes, 2, generator=generator) * spread
    boxes = torch.cat([corner, corner + 4 + 12 * torch.rand(corner.shape, generator=generator)], 2)
    scores = torch.rand(rows, classes + 1, generator=generator)
    if ties:
        scores = (scores * 6).round() / 6
    return boxes.expand(-1, classes, 4), scores


def ours(boxes, scores, score_thr=0.1, max_num=10, first_cut=None, **options):
    decoded = []

    def decode(rows, labels):
        decoded.append(len(rows))
        return boxes[rows, labels]

    found = candidate_nms(scores, decode, score_thr, NMSOptions.from_cfg(dict(dict(iou_threshold=0.5), **options)),
                          max_num, first_cut)
    assert torch.equal(found.boxes, boxes[found.rows, found.labels])
    assert torch.equal(found.scores, scores[found.rows, found.labels])
    return list(zip(found.rows.tolist(), found.labels.tolist(), strict=True)), decoded


def expected(boxes, scores, score_thr=0.1, max_num=10, **options):
    return per_class_nms(boxes.numpy(), scores[:, :-1].numpy(), score_thr, max_num=max_num,
                         **dict(dict(iou_threshold=0.5), **options))


@pytest.mark.parametrize('first_cut', [1, 7, 50, None])
@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('rows, classes, max_num', [(30, 7, 10), (40, 3, 100), (25, 1, 5), (6, 60, 300), (20, 5, -1)])
def test_equals_nms_over_all(rows, classes, max_num, ties, first_cut):
    for seed in range(3):
        boxes, scores = case(rows, classes, seed=seed, ties=ties)
        assert ours(boxes, scores, max_num=max_num, first_cut=first_cut)[0] == \
            expected(boxes, scores, max_num=max_num)


@pytest.mark.parametrize('options', [dict(iou_threshold=0.3), dict(iou_threshold=0.), dict(offset=1),
                                     dict(iou_threshold=1.)])
def test_options_of_nms(options):
    boxes, scores = case(40, 4)
    boxes = boxes.round()  # many IoUs of exactly 0
    assert ours(boxes, scores, first_cut=9, **options)[0] == expected(boxes, scores, **options)


def test_other_options():
    boxes, scores = case(30, 5)
    agnostic = ours(boxes, scores, class_agnostic=True, first_cut=9)[0]
    assert agnostic == expected(boxes, scores, agnostic=True) != ours(boxes, scores)[0]
    assert ours(boxes, scores, score_threshold=0.9)[0] == expected(boxes, scores, score_thr=0.9)
    assert ours(boxes, scores, max_num=-1, **{'split_thr': 10})[0] == expected(boxes, scores, max_num=-1)
    found = candidate_nms(scores, lambda r, c: boxes[r, c], 0.1, NMSOptions.from_cfg(dict(iou_thr=0.5, max_num=3)), 10)
    assert len(found) == 3
    found = candidate_nms(scores, lambda r, c: boxes[r, c], 0.1, NMSOptions.from_cfg(None), 10)
    assert list(zip(found.rows.tolist(), found.labels.tolist(), strict=True)) == \
        expected(boxes, scores, iou_threshold=None)


def test_the_best_ten_thousand_overlap_in_one_class():
    """The cut grows until enough survive; the survivors behind those 10,000 are found."""
    rows, classes = 10100, 3
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([100., 100, 200, 200]) + torch.rand(rows, 1, 4, generator=generator)
    boxes[10000:] = torch.arange(100.)[:, None, None] * 300 + torch.tensor([1000., 0, 1100, 100])
    scores = torch.zeros(rows, classes + 1)
    scores[:10000, 1] = 0.5 + torch.rand(10000, generator=generator) / 2
    scores[10000:, 2] = torch.rand(100, generator=generator) / 4
    found, decoded = ours(boxes.expand(-1, classes, 4), scores, 0., max_num=60)
    best_one = (int(scores[:, 1].argmax()), 1)
    behind = [(int(r), 2) for r in scores[:, 2].argsort(descending=True)[:59]]
    assert found == [best_one, *behind]
    assert len(decoded) > 2 and 10000 < sum(decoded) <= 10100


def test_only_the_best_candidates_are_decoded():
    boxes, scores = case(1000, 30, spread=4000.)
    found, decoded = ours(boxes, scores, max_num=300)
    assert len(found) == 300 and decoded == [900]


def test_cuts_are_bounded(monkeypatch):
    """Many survivors wanted, and all candidates of one class: pairs of a cut, not of all candidates."""
    monkeypatch.setattr(candidates_module, 'LARGEST_CUT', 40)
    monkeypatch.setattr(candidates_module, 'FIRST_CUT', 20)
    boxes, scores = case(150, 1, spread=200.)
    found, decoded = ours(boxes, scores, 0., max_num=100)
    assert found == expected(boxes, scores, 0., max_num=100) and len(found) > 60
    assert max(decoded) == 40 and len(decoded) > 2


def test_all_scores_equal():
    """As many ties as candidates: the order decides, and no cut holds more than it should."""
    boxes, scores = case(60, 20)
    scores = torch.full_like(scores, 0.25)
    found, decoded = ours(boxes, scores, max_num=100, first_cut=64)
    assert found == expected(boxes, scores, max_num=100) and decoded[0] == 64


@pytest.mark.parametrize('number', [1, 4, 5, 6, 9, 10, 50])
def test_best(number):
    values = torch.tensor([.1, .5, .5, .9, .2, .5, .5, .1, .5, .3])
    order = sorted(range(10), key=lambda i: (-values[i].item(), i))
    assert best(values, number).tolist() == order[:number]


def test_a_chain_of_boxes():
    """Each box overlaps the next: every other one stays."""
    boxes = torch.arange(50.)[:, None, None] * torch.tensor([3., 0, 3, 0]) + torch.tensor([0., 0, 10, 10])
    scores = torch.stack([torch.linspace(1, 0.5, 50), torch.zeros(50)], 1)
    assert [row for row, _ in ours(boxes, scores, max_num=100)[0]] == list(range(0, 50, 2))


def test_boxes_without_extent():
    boxes = torch.zeros(4, 2, 4)
    scores = torch.rand(4, 3)
    assert ours(boxes, scores, 0., 100)[0] == expected(boxes, scores, 0., 100)


@pytest.mark.parametrize('rows', [0, 5])
def test_nothing_above_the_score(rows):
    boxes, scores = case(rows, 4)
    assert ours(boxes, scores, score_thr=1.5)[0] == []


def test_nan_scores():
    boxes, scores = case(5, 4)
    scores[[1, 3], 2] = float('nan')
    with pytest.raises(ValueError, match=r'2 of 5 proposals have scores that are NaN'):
        ours(boxes, scores)


@pytest.mark.parametrize('cfg, message', [
    (dict(type='soft_nms', iou_threshold=0.5), r"nms\.type='soft_nms'.*host's own box head"),
    (dict(type='nms'), 'no iou_threshold'),
    (dict(type='nms', iou_threshold=0.5, sigma=1), r"unknown options \['sigma'\]"),
    (dict(type='nms', iou_threshold=1.5), 'iou_threshold=1.5 must be in'),
    (dict(type='nms', iou_threshold=0.5, offset=2), 'offset=2 must be 0 or 1'),
])
def test_refused(cfg, message):
    with pytest.raises(ValueError, match=message):
        NMSOptions.from_cfg(cfg)


def test_float32_decisions_are_those_of_mmcv():
    """Half of the pairs have an IoU within rounding of the threshold."""
    ops = pytest.importorskip('mmcv.ops')
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(300, 2, generator=generator) * 1000
    side = 20 + torch.rand(300, 2, generator=generator) * 100
    shift = torch.stack([side[:, 0] / 3, torch.zeros(300)], 1)  # IoU 1/2
    boxes = torch.cat([torch.cat([left, left + side], 1), torch.cat([left + shift, left + shift + side], 1)])
    scores = torch.stack([torch.rand(600, generator=generator), torch.zeros(600)], 1)
    found, _ = ours(boxes[:, None], scores, 0., -1)
    kept = ops.nms(boxes, scores[:, 0].contiguous(), 0.5)[1]
    assert [row for row, _ in found] == kept.tolist()
    assert 300 < len(kept) < 600
