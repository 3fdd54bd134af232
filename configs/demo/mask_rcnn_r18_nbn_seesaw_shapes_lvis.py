"""A small Mask R-CNN with NBN and Seesaw on generated shapes.

    python tools/dataset_converters/make_shapes_lvis.py data/shapes_lvis
    python tools/train.py configs/demo/mask_rcnn_r18_nbn_seesaw_shapes_lvis.py
"""
_base_ = './mask_rcnn_r18_bn_seesaw_shapes_lvis.py'
model = dict(backbone=dict(type='NBNBackbone', base='ResNet'))
