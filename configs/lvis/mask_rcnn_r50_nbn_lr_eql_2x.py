"""Mask R-CNN R50, EQL + NBN + LR, 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_nbn_lr_eql_2x.py 8

All 1,203 outputs are rectified; EQL has none for background.
"""
_base_ = './mask_rcnn_r50_nbn_eql_2x.py'
model = dict(roi_head=dict(bbox_head=dict(cls_predictor_cfg=dict(type='RectifiedPredictor', base='NormedLinear'))))
