"""ResNet-50 with three experts, NBN + LR, the NBN paper's form of RIDE, iNaturalist 2018, 200 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_nbn_lr_ride3_inat18.py``

Top-1: 75.3 (Table III of the NBN paper; published, not re-run).
"""
_base_ = 'resnet50_bn_ce_inat18.py'

# all batch norms of the last stage, one magnitude an expert
model = dict(
    backbone=dict(
        type='NBNBackbone',
        base='MultiExpertBackbone',
        network='ResNet',
        num_experts=3,
        nbn=dict(placement='A', share=r'experts\.(\d+)\.')),
    head=dict(
        type='MultiExpertClsHead',
        num_experts=3,
        predictor=dict(type='RectifiedPredictor', base='Linear'),
        loss=dict(_delete_=True, type='RIDELoss', base=dict(type='BalancedSoftmaxLoss'), diversity_factor=-0.2)))

val_evaluator = [
    dict(type='ShotGroupMetric', topk=(1, 5)), dict(type='CalibrationMetric'), dict(type='ExpertAccuracyMetric')]
test_evaluator = val_evaluator
