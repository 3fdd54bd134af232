"""Predictors with logit rectification behind them."""
import copy
import io
import pickle

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from nbn_mm.models.layers import LogitRectification, RectifiedPredictor
from nbn_mm.utils.hosts import host_error

needs_mmdet = pytest.mark.skipif(host_error('mmdet') is not None, reason='mmdet does not import')


def build(**kwargs):
    return MODELS.build(dict(type='RectifiedPredictor', in_features=6, out_features=4, **kwargs))


def test_keys_type_and_output():
    predictor = build()
    assert type(predictor) is nn.Linear
    plain = nn.Linear(6, 4)
    missing, unexpected = predictor.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all(key.startswith('logit_rectification.running') or key.endswith('num_batches_tracked')
                                  for key in missing)
    x = torch.randn(9, 6)
    expected = nn.BatchNorm1d(4, affine=False)(plain(x))
    torch.testing.assert_close(predictor(x), expected)
    assert predictor.logit_rectification.num_batches_tracked == 1


def test_options_reach_both_parts():
    predictor = build(bias=False, rectification=dict(eps=1e-3, momentum=None, sync=True, unrectified=1))
    layer = predictor.logit_rectification
    assert predictor.bias is None
    assert (layer.eps, layer.momentum, layer.sync, layer.unrectified, layer.num_features) == (1e-3, None, True, 1, 4)


def test_copies_keep_the_hook():
    predictor = build()
    x = torch.randn(5, 6)
    file = io.BytesIO()
    torch.save(predictor, file)
    file.seek(0)
    expected = nn.BatchNorm1d(4, affine=False)(nn.functional.linear(x, predictor.weight, predictor.bias))
    copies = [copy.deepcopy(predictor), pickle.loads(pickle.dumps(predictor)), torch.load(file, weights_only=False)]
    for other in copies:
        torch.testing.assert_close(other(x), expected)
        assert other.logit_rectification.num_batches_tracked == 1, 'the copy has a layer of its own'
    assert predictor.logit_rectification.num_batches_tracked == 0


def test_compiles_in_one_graph():
    predictor = build()
    eager = copy.deepcopy(predictor)
    x = torch.randn(5, 6)
    compiled = torch.compile(predictor, backend='eager', fullgraph=True)
    torch.testing.assert_close(compiled(x), eager(x))
    torch.testing.assert_close(predictor.logit_rectification.running_mean, eager.logit_rectification.running_mean)


def test_functional_call():
    predictor = build().eval()
    state = {key: value + 1 for key, value in predictor.state_dict().items()}
    x = torch.randn(5, 6)
    expected = copy.deepcopy(predictor)
    expected.load_state_dict(state)
    torch.testing.assert_close(torch.func.functional_call(predictor, state, (x, )), expected(x))


@pytest.mark.parametrize('rectification', [dict(num_features=3), dict(epsilon=1), 5, [1]])
def test_bad_rectification(rectification):
    with pytest.raises(TypeError, match='rectification=.*must be a dict with keys among'):
        RectifiedPredictor(rectification=rectification, in_features=6, out_features=4)


def test_missing_out_features():
    with pytest.raises(TypeError, match='needs out_features'):
        RectifiedPredictor(in_features=6)


def test_unknown_base():
    with pytest.raises(KeyError, match="predictor 'Lineer' is unknown in the scope"):
        build(base='Lineer')


@needs_mmdet
def test_base_of_another_scope():
    from mmdet.models.layers import NormedLinear
    assert type(build(base='mmdet.NormedLinear', power=2.0)) is NormedLinear


@needs_mmdet
@pytest.mark.parametrize('loss, unrectified', [('CrossEntropyLoss', 0), ('SeesawLoss', 2)])
@pytest.mark.parametrize('base', ['Linear', 'NormedLinear'])
def test_in_mmdet_box_head(loss, unrectified, base):
    from mmdet.registry import MODELS as DET_MODELS
    from mmengine.structures import InstanceData
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = DET_MODELS.build(dict(
            type='Shared2FCBBoxHead', in_channels=4, fc_out_channels=8, roi_feat_size=2, num_classes=5,
            cls_predictor_cfg=dict(type='RectifiedPredictor', base=base, rectification=dict(unrectified=unrectified)),
            loss_cls=dict(type=loss, num_classes=5) if loss == 'SeesawLoss' else dict(type=loss)))
    head.init_weights()
    width = 7 if loss == 'SeesawLoss' else 6
    assert type(head.fc_cls).__name__ == base and head.fc_cls.weight.shape == (width, 8)
    assert 0 < head.fc_cls.weight.std() < 0.02, "the head's Normal(0, 0.01) reaches the weights"
    assert torch.equal(head.fc_cls.logit_rectification.running_var, torch.ones(width - unrectified))
    scores, boxes = head(torch.randn(16, 4, 2, 2))
    rectified = scores[:, :width - unrectified]
    torch.testing.assert_close(rectified.mean(0), torch.zeros(width - unrectified), atol=1e-4, rtol=0)
    labels = torch.randint(6, (16, ))
    ones = torch.ones(16)
    losses = head.loss(scores, boxes, torch.rand(16, 5), labels, ones, torch.zeros(16, 4), torch.zeros(16, 4))
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert head.fc_cls.weight.grad.abs().sum() > 0
    assert head(torch.zeros(0, 4, 2, 2))[0].shape == (0, width), 'an image without proposals'
    # Prediction through the host's own activation, from rectified logits.
    head.eval()
    scores, boxes = head(torch.randn(3, 4, 2, 2))
    result = head.predict_by_feat((torch.rand(3, 5) * 9, ), (scores, ), (boxes, ),
                                  [dict(img_shape=(9, 9), scale_factor=(1.0, 1.0))])
    assert isinstance(result[0], InstanceData)


def test_rectification_is_no_batch_norm_to_converters():
    predictor = build(rectification=dict(sync=True))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(predictor))
    assert type(converted.logit_rectification) is LogitRectification
