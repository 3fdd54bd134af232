"""A tiny Mask R-CNN with a "pretrained" backbone, and pictures in memory, for the tests of NBN in detectors."""
import logging
from pathlib import Path

import numpy as np
import torch
from folding import disturb
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.registry import DATASETS, METRICS, MODELS, DefaultScope
from mmengine.runner import Runner
from torch.utils.data import Dataset

CONFIG = Path(__file__).resolve().parents[2] / 'configs/_base_/models/mask_rcnn_r18_small.py'
SIZE = 64
BACKBONES = {
    'R18': dict(type='ResNet', depth=18),
    'R50': dict(type='ResNet', depth=50, style='pytorch'),
    'X50': dict(type='ResNeXt', depth=50, groups=4, base_width=4, style='pytorch'),
}


def build(cfg):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(ConfigDict(cfg))


def backbone(name='R18', nbn=None, checkpoint=None, **kwargs):
    """Config of a backbone of 8 channels as detectors use it; ``nbn``: options, or None for BN."""
    cfg = dict(stem_channels=8, base_channels=8, num_stages=4, out_indices=(0, 1, 2, 3), frozen_stages=1,
               norm_eval=True, norm_cfg=dict(type='BN', requires_grad=True))
    cfg.update(BACKBONES[name], **kwargs)
    if checkpoint is not None:
        cfg['init_cfg'] = dict(type='Pretrained', checkpoint=str(checkpoint))
    if nbn is not None:
        cfg.update(type='NBNBackbone', base=cfg['type'], nbn=nbn)
    return cfg


def write_pretrained(path, name='R18', seed=0):
    """A file with the state of a BN backbone that is away from its start; its vectors have different norms."""
    torch.manual_seed(seed)
    network = build(backbone(name, zero_init_residual=False))
    disturb(network)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.3, 1.2)
                module.bias.normal_(std=0.2)
    torch.save(dict(state_dict=network.state_dict()), path)
    return path


def detector(nbn=None, checkpoint=None, predictor=None, loss='FastSeesawLoss', num_classes=3, **backbone_cfg):
    """Config of the Mask R-CNN."""
    cfg = Config.fromfile(CONFIG).model.to_dict()
    cfg['backbone'] = backbone('R18', nbn, checkpoint, **backbone_cfg)
    cfg['data_preprocessor'].update(mean=[0.] * 3, std=[1.] * 3, bgr_to_rgb=False)
    cfg['neck'].update(in_channels=[8, 16, 32, 64], out_channels=16)
    cfg['rpn_head'].update(in_channels=16, feat_channels=16)
    roi = cfg['roi_head']
    for part in ('bbox_roi_extractor', 'mask_roi_extractor'):
        roi[part]['out_channels'] = 16
    roi['bbox_head'].update(in_channels=16, fc_out_channels=32, num_classes=num_classes,
                            cls_predictor_cfg=predictor or dict(type='Linear'),
                            loss_cls=dict(type=loss, num_classes=num_classes))
    roi['mask_head'].update(in_channels=16, conv_out_channels=16, num_classes=num_classes, num_convs=1)
    cfg['train_cfg']['rpn_proposal'].update(nms_pre=50, max_per_img=16)
    cfg['train_cfg']['rcnn']['sampler']['num'] = 16
    cfg['test_cfg']['rpn'].update(nms_pre=50, max_per_img=16)
    cfg['test_cfg']['rcnn']['max_per_img'] = 8
    return cfg


@DATASETS.register_module(force=True)
class Pictures(Dataset):
    """Four images of two sizes with two objects each, as mmdet's pipelines pack them."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        from mmdet.structures import DetDataSample
        from mmdet.structures.mask import BitmapMasks
        from mmengine.structures import InstanceData
        height, width = SIZE - 8 * (index % 2), SIZE
        image = torch.randn(3, height, width, generator=torch.Generator().manual_seed(index))
        boxes = np.array([[4, 6, 30 + index, 40], [24, 20, 60, 50 + index]])
        masks = np.zeros((2, height, width), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
            mask[y1:y2, x1:x2] = 1
        sample = DetDataSample(metainfo=dict(img_id=index, img_shape=(height, width), ori_shape=(height, width),
                                             pad_shape=(height, width), scale_factor=(1., 1.)))
        sample.gt_instances = InstanceData(bboxes=torch.tensor(boxes, dtype=torch.float32),
                                           labels=torch.tensor([index % 3, 2]), masks=BitmapMasks(masks, height, width))
        return dict(inputs=image, data_samples=sample)


def batch(model, size=2, training=True):
    """The first images, preprocessed."""
    items = [Pictures()[index] for index in range(size)]
    return model.data_preprocessor({key: [item[key] for item in items] for key in items[0]}, training)


@METRICS.register_module(force=True)
class Keep(BaseMetric):
    """Keeps the scores, boxes and masks of all pictures in ``kept``."""
    kept = None

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            found = sample['pred_instances']
            self.results.append([found[key] for key in ('scores', 'labels', 'bboxes', 'masks')])

    def compute_metrics(self, results):
        self.kept = results
        return {}


def runner(work_dir, model, epochs=1, hooks=None, optim_wrapper=None, **cfg):
    """A Runner on the pictures, two iterations an epoch; it has the name of its work dir."""
    loader = dict(dataset=dict(type='Pictures'), batch_size=2, num_workers=0, collate_fn=dict(type='pseudo_collate'),
                  sampler=dict(type='DefaultSampler', shuffle=False))
    return Runner.from_cfg(Config(dict(
        model=model, work_dir=str(work_dir), experiment_name=str(work_dir), default_scope='mmdet',
        train_dataloader=loader, train_cfg=dict(by_epoch=True, max_epochs=epochs),
        test_dataloader=loader, test_cfg=dict(), test_evaluator=dict(type='Keep'),
        optim_wrapper=optim_wrapper or dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4)),
        default_hooks=dict(checkpoint_guard=dict(type='CheckpointGuardHook'), **(hooks or {})),
        randomness=dict(seed=0), log_level='WARNING', **cfg)))


def messages(run):
    """What the run logs at INFO from here on, as a list that grows."""
    found = []

    class Collect(logging.Handler):

        def emit(self, record):
            found.append(record)

    run.logger.setLevel(logging.INFO)
    run.logger.addHandler(Collect())
    return found
