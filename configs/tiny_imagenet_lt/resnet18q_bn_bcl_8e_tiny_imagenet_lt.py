"""ResNet-18 of a quarter of the width with BN, a cosine classifier and BCL, 8 epochs, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_bcl_8e_tiny_imagenet_lt.py``
"""
_base_ = [
    '../_base_/models/resnet18q_tiny.py',
    '../_base_/datasets/tiny_imagenet_lt_views.py',
    '../_base_/schedules/tiny_8e.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    data_preprocessor=dict(type='MultiViewClsDataPreprocessor'),
    head=dict(
        type='BalancedContrastiveHead',
        predictor=dict(type='CosineLinear', scale=30.0),
        loss=dict(_delete_=True, type='LogitAdjustmentLoss', tau=1.0),
        contrast=dict(type='BalancedContrastiveLoss', temperature=0.07, loss_weight=0.35),
        hidden_channels=128,
        out_channels=64))
