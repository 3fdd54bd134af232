_base_ = '../_base_/detection/cascade_mask_rcnn_r101_lvis_2x.py'
