"""ResNet-18 of a quarter of the width with BN, Balanced Softmax and the host's mixup, 8 epochs, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_bsl_mixup_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_bsl_8e_tiny_imagenet_lt.py'

model = dict(data_preprocessor=dict(num_classes=200), train_cfg=dict(augments=dict(type='Mixup', alpha=0.2)))
