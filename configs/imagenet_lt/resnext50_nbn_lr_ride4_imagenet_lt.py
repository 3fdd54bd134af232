"""ResNeXt-50 with four experts, NBN + LR, the NBN paper's form of RIDE, ImageNet-LT, 90 epochs.

Train: ``python tools/train.py configs/imagenet_lt/resnext50_nbn_lr_ride4_imagenet_lt.py``

Learning rate and batch are those of the published config; its base loss and width are read from the code, which
does not run as shipped.

Top-1: 58.2 (Table II of the NBN paper; published, not re-run).
"""
_base_ = 'resnext50_bn_ce_imagenet_lt.py'

# all batch norms of the last stage, one magnitude an expert
model = dict(
    backbone=dict(
        type='NBNBackbone',
        base='MultiExpertBackbone',
        network='ResNeXt',
        num_experts=4,
        nbn=dict(placement='A', share=r'experts\.(\d+)\.')),
    head=dict(
        type='MultiExpertClsHead',
        num_experts=4,
        predictor=dict(type='RectifiedPredictor', base='Linear'),
        loss=dict(_delete_=True, type='RIDELoss', base=dict(type='BalancedSoftmaxLoss'), diversity_factor=-0.2)))

global_batch_size = 256
train_dataloader = dict(batch_size=256)
optim_wrapper = dict(optimizer=dict(lr=0.1))

val_evaluator = [
    dict(type='ShotGroupMetric', topk=(1, 5)), dict(type='CalibrationMetric'), dict(type='ExpertAccuracyMetric')]
test_evaluator = val_evaluator
