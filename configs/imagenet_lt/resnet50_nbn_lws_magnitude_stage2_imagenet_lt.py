"""ResNet-50 with NBN and LWS on ImageNet-LT: stage 2 in which NBN's magnitude learns, too.

Train: ``python tools/train.py configs/imagenet_lt/resnet50_nbn_lws_magnitude_stage2_imagenet_lt.py``
"""
_base_ = 'resnet50_nbn_lws_stage2_imagenet_lt.py'

default_hooks = dict(stage=dict(stages=[
    dict(begin=0, freeze=[r'^backbone\.', r'^head\.fc\.(weight|bias)'], norm='magnitude')]))
