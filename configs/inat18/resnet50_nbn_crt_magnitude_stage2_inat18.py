"""ResNet-50 with NBN and cRT on iNaturalist 2018: stage 2 in which NBN's magnitude learns, too.

Train: ``python tools/train.py configs/inat18/resnet50_nbn_crt_magnitude_stage2_inat18.py``

Top-1: 66.9 (Table VIII of the NBN paper, NBN*; published, not re-run).
"""
_base_ = 'resnet50_nbn_crt_stage2_inat18.py'

default_hooks = dict(stage=dict(stages=[
    dict(begin=0, freeze=[r'^backbone\.'], norm='magnitude', reinit=['head.fc'])]))
