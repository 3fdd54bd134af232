"""Faster R-CNN (boxes only) R50, Seesaw + NBN, 2x.

    bash tools/dist_train.sh configs/lvis/faster_rcnn_r50_nbn_seesaw_2x.py 8
"""
_base_ = './faster_rcnn_r50_bn_seesaw_2x.py'
model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(init_magnitude='pretrained')))
