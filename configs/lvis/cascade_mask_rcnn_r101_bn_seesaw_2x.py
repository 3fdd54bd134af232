"""Cascade Mask R-CNN R101, Seesaw, 2x.

    bash tools/dist_train.sh configs/lvis/cascade_mask_rcnn_r101_bn_seesaw_2x.py 8
"""
_base_ = '../_base_/detection/cascade_mask_rcnn_r101_lvis_2x.py'
