"""ResNet-152 from ImageNet's weights with NBN + LR and Balanced Softmax on Places-LT; the recipe is ours.

Train: ``python tools/train.py configs/places_lt/resnet152_nbn_lr_bsl_places_lt.py``
"""
_base_ = 'resnet152_bn_ce_places_lt.py'

model = dict(
    backbone=dict(
        type='NBNBackbone',
        base='ResNet',
        # the network starts as the pretrained one
        nbn=dict(placement='paper', share='all', init_magnitude='pretrained')),
    head=dict(
        predictor=dict(type='RectifiedPredictor', base='Linear'),
        loss=dict(_delete_=True, type='BalancedSoftmaxLoss')))
