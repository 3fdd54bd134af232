"""Mask R-CNN R50, Seesaw, repeat-factor sampling, normalised mask predictor, 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_bn_seesaw_rfs_normed_mask_2x.py 8
"""
_base_ = './mask_rcnn_r50_bn_seesaw_rfs_2x.py'
model = dict(roi_head=dict(mask_head=dict(predictor_cfg=dict(type='NormedConv2d'))))  # temperature 20, its default
