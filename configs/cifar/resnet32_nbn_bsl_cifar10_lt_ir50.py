"""ResNet-32 with NBN and Balanced Softmax on CIFAR-10-LT, imbalance factor 50.

Train: ``python tools/train.py configs/cifar/resnet32_nbn_bsl_cifar10_lt_ir50.py``

Top-1: no published figure.
"""
_base_ = 'resnet32_nbn_bsl_cifar10_lt.py'

train_dataloader = dict(dataset=dict(dataset=dict(imbalance_factor=50)))
