"""Networks with NBN and logit rectification, moved away from their start, for the tests of folding."""
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope


def classifier_config(nbn, norm_cfg=None, predictor=None, **backbone):
    return dict(
        type='ImageClassifier',
        backbone=dict(type='NBNBackbone', base='ResNet', depth=18, nbn=nbn, norm_cfg=norm_cfg or dict(type='BN'),
                      **backbone),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LongTailClsHead', num_classes=7, in_channels=512,
                  predictor=predictor or dict(type='RectifiedPredictor', base='Linear'),
                  loss=dict(type='BalancedSoftmaxLoss', class_counts=[7, 6, 5, 4, 3, 2, 1])))


def build(cfg, scope='mmpretrain'):
    pytest.importorskip(scope, reason=f'{scope} is not installed')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg)
    model.init_weights()
    return disturb(model)


def disturb(model):
    """Move every parameter and statistic away from its start, as training does."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point() and tensor.numel():
                noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
                if name.endswith(('running_var', 'magnitude')):
                    tensor.mul_(0.5 + noise)
                elif 'running_mean' in name or tensor.dim() < 2:
                    tensor.add_(0.2 * noise - 0.1)
    return model.eval()


def image(n=2, size=64):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(2))
