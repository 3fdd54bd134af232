"""ResNet-50 with BN and GCL on iNaturalist 2018: stage 1, 200 epochs; resnet50_bn_gcl_stage2_inat18 follows.

Train: ``python tools/train.py configs/inat18/resnet50_bn_gcl_inat18.py``

Top-1: 70.3 (stage 1, README of the GCL paper's code; published, not re-run).
"""
_base_ = 'resnet50_bn_ce_inat18.py'

model = dict(head=dict(
    predictor=dict(type='CosineLinear', scale=30), loss=dict(_delete_=True, type='GaussianCloudedLogitLoss', scale=30)))
