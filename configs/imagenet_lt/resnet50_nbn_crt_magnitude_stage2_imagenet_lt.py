"""ResNet-50 with NBN and cRT on ImageNet-LT: stage 2 in which NBN's magnitude learns, too.

Train: ``python tools/train.py configs/imagenet_lt/resnet50_nbn_crt_magnitude_stage2_imagenet_lt.py``

Top-1: 50.7 (Table VIII of the NBN paper, NBN*; published, not re-run).
"""
_base_ = 'resnet50_nbn_crt_stage2_imagenet_lt.py'

default_hooks = dict(stage=dict(stages=[
    dict(begin=0, freeze=[r'^backbone\.'], norm='magnitude', reinit=['head.fc'])]))
