"""Mask R-CNN R50, Seesaw + NBN + LR, 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_nbn_lr_seesaw_2x.py 8

The 1,203 class logits are rectified, the two of objectness are not.
"""
_base_ = './mask_rcnn_r50_nbn_seesaw_2x.py'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            cls_predictor_cfg=dict(
                type='RectifiedPredictor', base='NormedLinear', rectification=dict(unrectified=2)))))
