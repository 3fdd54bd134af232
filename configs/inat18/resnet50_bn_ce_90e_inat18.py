"""ResNet-50 with BN and cross entropy on iNaturalist 2018, 90 epochs: stage 1 of Table VIII (schedule unstated).

Train: ``python tools/train.py configs/inat18/resnet50_bn_ce_90e_inat18.py``

Top-1: 62.3 (Table VIII of the NBN paper; published, not re-run).
"""
_base_ = [
    '../_base_/models/resnet50_inat18.py',
    '../_base_/datasets/inat18.py',
    '../_base_/schedules/epochs_90.py',
    '../_base_/default_runtime_cls.py',
]
