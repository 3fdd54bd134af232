"""ResNet-32 with BN and softmax EQL on CIFAR-10-LT, imbalance factor 100.

Train: ``python tools/train.py configs/cifar/resnet32_bn_eql_cifar10_lt.py``

Top-1: no published figure.
"""
_base_ = 'resnet32_bn_ce_cifar10_lt.py'

# the threshold of Bag of Tricks for Long-Tailed Visual Recognition: five of the ten classes are rare
model = dict(head=dict(loss=dict(_delete_=True, type='SoftmaxEqualizationLoss', threshold=0.05, gamma=0.9)))
