"""Seesaw (Wang et al., CVPR 2021): the host's LVIS recipe, on which all other rows stand.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_bn_seesaw_2x.py 8

Table XIV of the paper, AP / APr / APc / APf (published, not re-run):
boxes 25.3 / 12.7 / 23.7 / 32.6, masks 24.7 / 14.9 / 23.9 / 29.8.
"""
_base_ = '../_base_/detection/mask_rcnn_r50_lvis_2x.py'
