"""What each `mask_format` gives to those who read predictions: metrics, visualisers, inferencers, files."""
import copy
import json
import pickle

import numpy as np
import pytest
import torch
from detectors import batch, build, detector
from pycocotools import mask as mask_utils

from nbn_mm.utils.hosts import host_error

if host_error('mmdet') is not None:
    pytest.skip('mmdet does not import', allow_module_level=True)

HEIGHTS, WIDTH = (64, 56), 64
ARRAYS = pytest.mark.parametrize('kind', ['bitmap', 'box'])


@pytest.fixture(scope='module')
def predictions():
    """Data samples of two pictures in each format, from one network."""
    cfg = detector()
    cfg['roi_head']['mask_head']['class_agnostic'] = False
    cfg['test_cfg']['rcnn'].update(score_thr=0.01)
    torch.manual_seed(0)
    model = build(cfg).eval()
    torch.nn.init.normal_(model.roi_head.mask_head.conv_logits.weight)
    found = {}
    for kind in ('bitmap', 'box', 'rle'):
        model.roi_head.test_cfg.mask_format = kind
        data = batch(model, 2, training=False)
        with torch.no_grad():
            found[kind] = model.predict(data['inputs'], copy.deepcopy(data['data_samples']))
    assert found['bitmap'][0].pred_instances.masks.any()
    return found


def as_dicts(samples):
    """As the evaluator hands them to metrics."""
    return [sample.to_dict() for sample in copy.deepcopy(samples)]


@pytest.fixture
def annotations(tmp_path):
    """An LVIS file of the two pictures, with the predicted classes annotated."""
    cats = [dict(id=i + 1, name=f'c{i}', frequency='f', image_count=200, instance_count=200, synset='s', synonyms=['s'],
                 **{'def': 'd'}) for i in range(3)]
    images = [dict(id=i, height=HEIGHTS[i], width=WIDTH, file_name=f'{i}.jpg', coco_url=f'http://a/{i}.jpg',
                   neg_category_ids=[], not_exhaustive_category_ids=[]) for i in range(2)]
    anns = [dict(id=3 * i + c + 1, image_id=i, category_id=c + 1, bbox=[4, 6, 30, 30], area=900, iscrowd=0,
                 segmentation=[[4, 6, 34, 6, 34, 36, 4, 36]]) for i in range(2) for c in range(3)]
    path = tmp_path / 'lvis.json'
    path.write_text(json.dumps(dict(info={}, licenses=[], images=images, annotations=anns, categories=cats)))
    return str(path)


def evaluated(metric, samples, classes=('c0', 'c1', 'c2')):
    metric.dataset_meta = dict(classes=classes)
    metric.process({}, as_dicts(samples))
    return metric.evaluate(2)


def test_streaming_lvis_metric(predictions, annotations):
    from nbn_mm.evaluation.metrics import StreamingLVISMetric
    results = [evaluated(StreamingLVISMetric(annotations, ['bbox', 'segm']), predictions[kind])
               for kind in ('bitmap', 'box', 'rle')]
    assert results[0] == results[1] == results[2] and results[0]['lvis/segm_AP'] >= 0


@ARRAYS
def test_lvis_metric_of_the_host(kind, predictions, annotations):
    pytest.importorskip('lvis')
    from mmdet.evaluation import LVISMetric
    metrics = []
    for samples in (predictions['bitmap'], predictions[kind]):
        metric = LVISMetric(annotations, metric=['segm'])
        metric.process({}, as_dicts(samples))
        metrics.append([result['masks'] for _, result in metric.results])
    assert metrics[0] == metrics[1] and len(metrics[0][0]) == 8


@pytest.mark.parametrize('kind', ['bitmap', 'rle'])
def test_coco_metric_of_the_host(kind, predictions, annotations):
    from mmdet.evaluation import CocoMetric
    results = [evaluated(CocoMetric(annotations, metric=['segm']), predictions[each]) for each in ('bitmap', kind)]
    assert results[0] == results[1] and 'coco/segm_mAP' in results[0]


@ARRAYS
def test_visualiser_of_the_host(kind, predictions):
    from mmdet.visualization import DetLocalVisualizer
    drawn = []
    for each in ('bitmap', kind):
        visualiser = DetLocalVisualizer()
        visualiser.dataset_meta = dict(classes=('c0', 'c1', 'c2'), palette=[(255, 0, 0), (0, 255, 0), (0, 0, 255)])
        np.random.seed(0)  # colours are jittered
        visualiser.add_datasample('x', np.full((HEIGHTS[0], WIDTH, 3), 128, np.uint8),
                                  copy.deepcopy(predictions[each][0]), draw_gt=False, pred_score_thr=0.0)
        drawn.append(visualiser.get_image())
    assert np.array_equal(*drawn) and drawn[0].std() > 0


@ARRAYS
def test_inferencer_of_the_host(kind, predictions):
    """What DetInferencer (so tools/infer.py) writes into its JSON files."""
    from mmdet.apis import DetInferencer
    inferencer = DetInferencer.__new__(DetInferencer)
    wanted, found = (inferencer.pred2dict(copy.deepcopy(predictions[each][0])) for each in ('bitmap', kind))
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(wanted)) and len(found['masks']) == 8


@ARRAYS
def test_dumped_results_of_the_host(kind, predictions, tmp_path):
    from mmdet.evaluation import DumpDetResults
    metric = DumpDetResults(str(tmp_path / 'out.pkl'))
    metric.process({}, as_dicts(predictions[kind]))
    metric.evaluate(2)
    dumped = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    wanted = predictions['rle'][0].pred_instances.masks
    assert dumped[0]['pred_instances']['masks'] == wanted


def test_rles_are_plain(predictions):
    for rle, sample in zip(predictions['rle'], predictions['bitmap'], strict=True):
        masks = rle.pred_instances.masks
        assert type(masks) is list and all(type(mask) is dict for mask in masks)
        assert np.array_equal(mask_utils.decode(masks).transpose(2, 0, 1), sample.pred_instances.masks.numpy())
