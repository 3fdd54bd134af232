# ResNet-50 with a stem for 64 x 64 images: a 3 x 3 convolution, no pooling.
_base_ = 'resnet18q_tiny.py'
model = dict(
    backbone=dict(type='ResNet_CIFAR', depth=50, base_channels=64, stem_channels=64),
    head=dict(in_channels=2048))
