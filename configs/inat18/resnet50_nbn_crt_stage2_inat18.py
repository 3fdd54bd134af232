"""ResNet-50 with NBN and cRT on iNaturalist 2018: stage 2 from resnet50_nbn_ce_90e_inat18, the magnitude frozen.

Train: ``python tools/train.py configs/inat18/resnet50_nbn_crt_stage2_inat18.py``

Top-1: 65.9 (Table VIII of the NBN paper, NBN; published, not re-run).
"""
_base_ = 'resnet50_bn_crt_stage2_inat18.py'

model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(placement='paper', share='all')))
load_from = 'work_dirs/resnet50_nbn_ce_90e_inat18/epoch_90.pth'
