"""ResNet-32 with BN and LWS on CIFAR-10-LT, imbalance factor 200: stage 2 from resnet32_bn_ce_cifar10_lt_ir200.

Train: ``python tools/train.py configs/cifar/resnet32_bn_lws_stage2_cifar10_lt_ir200.py``

Top-1: 78.1 (Table I of the NBN paper; published, not re-run).
"""
_base_ = 'resnet32_bn_lws_stage2_cifar10_lt.py'

train_dataloader = dict(dataset=dict(dataset=dict(imbalance_factor=200)))
load_from = 'work_dirs/resnet32_bn_ce_cifar10_lt_ir200/iter_13000.pth'
