"""An evaluation on another file than the data set's, told before anything is built."""
import json

import pytest
from mmengine.config import Config

from nbn_mm.engine.launch import LaunchError, train
from nbn_mm.engine.launch.evaluation_checks import check_drawn_masks, check_evaluated_images, check_mask_format

URL = 'http://images.cocodataset.org/'


@pytest.fixture
def files(tmp_path):
    """Annotation files by name: of which ids and file names their images are."""
    contents = dict(
        val={1: 'val/1.png', 2: 'val/2.png'}, longer={1: 'val/1.png', 2: 'val/2.png', 3: 'val/3.png'},
        bare={1: '1.png', 2: '2.png'}, train={1: 'train/1.png', 2: 'train/2.png'}, others={7: 'val/1.png'},
        unnamed={1: None, 2: None})
    for name, images in contents.items():
        images = [dict(id=i, **({} if file is None else dict(file_name=file))) for i, file in images.items()]
        (tmp_path / f'{name}.json').write_text(json.dumps(dict(images=images, categories=[])))
    urls = [dict(id=i, coco_url=f'{URL}val/{i}.png') for i in (1, 2)]
    (tmp_path / 'urls.json').write_text(json.dumps(dict(images=urls, categories=[])))
    (tmp_path / 'broken.json').write_text('{')
    (tmp_path / 'link.json').symlink_to(tmp_path / 'val.json')
    return tmp_path


def config(root, evaluated, metric='StreamingLVISMetric', wrap=False, **dataset):
    dataset = dict(type='LVISFormatDataset', data_root=str(root), ann_file='val.json', **dataset)
    if wrap:
        dataset = dict(type='ConcatDataset', datasets=[dataset])
    evaluator = [dict(type='CalibrationMetric'), dict(type=metric, ann_file=f'{root}/{evaluated}.json')]
    return Config(dict(default_scope='mmdet', val_dataloader=dict(dataset=dataset), val_evaluator=evaluator))


@pytest.mark.parametrize('evaluated', ['val', 'link', 'longer', 'bare', 'urls', 'unnamed', 'absent', 'broken'])
def test_passes(files, evaluated):
    """The same images; or nothing to compare, which the data set or the metric tells."""
    check_evaluated_images(config(files, evaluated), 'val')
    check_evaluated_images(config(files, evaluated), 'test')  # not in the config


@pytest.mark.parametrize('evaluated, difference', [
    ('others', 'image id 1 of the first is not in the second'),
    ('train', "image id 1 is 'val/1.png' in the first and 'train/1.png' in the second"),
])
def test_other_images(files, evaluated, difference):
    with pytest.raises(LaunchError) as error:
        check_evaluated_images(config(files, evaluated), 'val')
    for text in (difference, 'val_dataloader.dataset.ann_file', 'Set val_evaluator[1].ann_file', f'{evaluated}.json'):
        assert text in str(error.value)
    with pytest.raises(LaunchError, match=r'val_dataloader\.dataset\.datasets\[0\]\.ann_file'):
        check_evaluated_images(config(files, evaluated, wrap=True), 'val')
    check_evaluated_images(config(files, evaluated, indices=1), 'val')
    check_evaluated_images(config(files, evaluated, metric='CocoMetric'), 'val')


@pytest.mark.parametrize('kind, metric', [
    ('box', 'CocoMetric'), ('box', 'FasterCocoMetric'), ('rle', 'LVISMetric'), ('rle', 'DumpDetResults')])
def test_mask_formats_that_an_evaluator_does_not_read(kind, metric):
    def run(kind, mask_head='FastFCNMaskHead'):
        head = dict(type='FastStandardRoIHead', mask_head=mask_head and dict(type=mask_head))
        model = dict(roi_head=head, test_cfg=dict(rpn={}, rcnn={} if kind is None else dict(mask_format=kind)))
        evaluators = [dict(type='StreamingLVISMetric'), dict(type=f'mmdet.{metric}')]
        check_mask_format(Config(dict(model=model, test_evaluator=evaluators)), 'test')

    with pytest.raises(LaunchError) as error:
        run(kind)
    assert f"model.test_cfg.rcnn.mask_format='{kind}', but test_evaluator[1].type='{metric}'" in str(error.value)
    for other in {'bitmap', 'box', 'rle', None} - {kind}:
        run(other)
    for mask_head in (None, 'FCNMaskHead'):  # as in our Faster R-CNN configs, which inherit the field
        run(kind, mask_head)
    check_mask_format(Config(dict(test_evaluator=dict(type=metric))), 'test')
    model = dict(mask_head=dict(type='FastFCNMaskHead'), test_cfg=None)
    check_mask_format(Config(dict(model=model, test_evaluator=dict(type=metric))), 'test')


def test_masks_that_cannot_be_drawn():
    model = dict(roi_head=dict(mask_head=dict(type='FastFCNMaskHead')), test_cfg=dict(rcnn=dict(mask_format='rle')))
    with pytest.raises(LaunchError, match="infer.py: masks of model.test_cfg.rcnn.mask_format='rle' can't be drawn"):
        check_drawn_masks(Config(dict(model=model)), 'infer.py')
    for kind in ('box', 'bitmap'):
        model['test_cfg']['rcnn']['mask_format'] = kind
        check_drawn_masks(Config(dict(model=model)), 'infer.py')


def test_training_starts_with_the_check(files):
    path = files / 'config.json'
    cfg = config(files, 'train').to_dict()
    cfg['default_hooks'] = dict(class_counts=dict(type='ClassCountsHook'))
    path.write_text(json.dumps(cfg))
    with pytest.raises(LaunchError, match='of different images'):
        train(str(path), work_dir=str(files / 'out'))
