"""ResNet-50 with BN and cross entropy on iNaturalist 2018, 200 epochs.

Train: ``python tools/train.py configs/inat18/resnet50_bn_ce_inat18.py``

Top-1: 65.2 (Table III of the NBN paper; published, not re-run).
"""
_base_ = [
    '../_base_/models/resnet50_inat18.py',
    '../_base_/datasets/inat18.py',
    '../_base_/schedules/epochs_200.py',
    '../_base_/default_runtime_cls.py',
]
