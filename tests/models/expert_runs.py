"""Short runs with several experts on Digits-LT, and the heads and networks that their tests share."""
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[2]
COUNTS = [500, 60, 9, 2]
OWN = dict(type='RIDELoss', base=dict(type='LDAMLoss', scale=30), diversity_factor=-0.45)
PUBLISHED = dict(type='RIDELoss', base=dict(type='BalancedSoftmaxLoss'))
COSINE = dict(type='CosineLinear', scale=30)
RECTIFIED = dict(type='RectifiedPredictor', base='Linear')
RESIZE = [dict(type='Resize', scale=12, interpolation='bilinear'), dict(type='PackInputs')]


def build(cfg):
    """Build and initialise a part in mmpretrain's scope."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = MODELS.build(cfg)
    built.init_weights()
    return built


def head(kind='MultiExpertClsHead', **options):
    """A head of 3 experts, 4 classes and 6 channels."""
    return build(dict(type=kind, num_experts=3, num_classes=4, in_channels=6, loss=PUBLISHED) | options)


def features(number=5, experts=3, seed=1):
    """Features of 3 experts."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(number, 6, generator=generator) for _ in range(experts))


def digits(work_dir, loss, predictor, epochs=2, nbn=None, model=None, hooks=None, **top):
    """Config of a run: ResNet-8 with 2 experts on digits of 12 x 12, both evaluators of experts."""
    cfg = Config.fromfile(ROOT / 'configs/demo/resnet8_bn_ce_digits_lt.py')
    backbone = dict(type='MultiExpertBackbone', network='CIFARResNet', depth=8, num_experts=2, reduce_dimension=True)
    if nbn is not None:
        backbone = dict(backbone, type='NBNBackbone', base='MultiExpertBackbone', nbn=nbn)
    cfg.model.backbone = backbone
    cfg.model.head = dict(type='MultiExpertClsHead', num_experts=2, num_classes=10, in_channels=48,
                          predictor=predictor, loss=loss)
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.num_workers = 0
        loader.persistent_workers = False
        loader.dataset.pipeline = RESIZE
    cfg.val_evaluator = [dict(type='ShotGroupMetric', topk=(1, )), dict(type='ExpertAccuracyMetric')]
    cfg.test_evaluator = cfg.val_evaluator
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs)  # of 7 iterations
    cfg.optim_wrapper.optimizer.lr = 0.05
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1, max_keep_ckpts=-1)
    cfg.default_hooks.update(hooks or {})
    cfg.merge_from_dict(dict(model=model or {}))
    cfg.update(top)
    cfg.work_dir, cfg.log_level = str(work_dir), 'WARNING'
    return cfg


def run(cfg, train=True):
    """A Runner under a name of its own, after training."""
    cfg = Config(cfg.to_dict())
    cfg.experiment_name = f'experts_{time.time()}'
    runner = Runner.from_cfg(cfg)
    if train:
        runner.train()
    return runner


def state(path):
    """The state dict of a checkpoint."""
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']
