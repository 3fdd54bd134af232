"""ResNet-50 with BN and LTR weight balancing on iNaturalist 2018: stage 1, cross entropy with a weight decay that is
meant to be tuned (1e-4 is ours; the authors' code is for CIFAR-100-LT).

Train: ``python tools/train.py configs/inat18/resnet50_bn_ltrwd_inat18.py``
"""
_base_ = 'resnet50_bn_ce_inat18.py'

optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
