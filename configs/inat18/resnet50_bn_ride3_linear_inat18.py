"""ResNet-50 with three experts, BN, the NBN paper's form of RIDE, iNaturalist 2018, 200 epochs: NBN + LR adds to it.

Train: ``python tools/train.py configs/inat18/resnet50_bn_ride3_linear_inat18.py``
"""
_base_ = 'resnet50_nbn_ride3_inat18.py'

model = dict(
    backbone=dict(
        _delete_=True, type='MultiExpertBackbone', network='ResNet', num_experts=3, depth=50, out_indices=(3, ),
        style='pytorch'))
