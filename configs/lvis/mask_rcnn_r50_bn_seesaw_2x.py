"""Seesaw (Wang et al., CVPR 2021), the baseline of the other rows: the host's own LVIS recipe.

    tools/dist_train.sh configs/lvis/mask_rcnn_r50_bn_seesaw_2x.py 8
"""
_base_ = '../_base_/detection/mask_rcnn_r50_lvis_2x.py'
