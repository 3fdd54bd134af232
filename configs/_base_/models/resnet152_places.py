# ResNet-152, pretrained on ImageNet, with a linear classifier of Places' 365 scenes.
_base_ = 'resnet50.py'
model = dict(
    data_preprocessor=dict(num_classes=365),
    backbone=dict(
        depth=152,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet152')),
    head=dict(num_classes=365))
