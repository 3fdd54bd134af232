"""ResNet-18 of a quarter of the width with BN and softmax EQL, 8 epochs, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_eql_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_ce_8e_tiny_imagenet_lt.py'

# a share below half of the mean one
model = dict(head=dict(loss=dict(_delete_=True, type='SoftmaxEqualizationLoss', threshold=0.0025, gamma=0.9)))
