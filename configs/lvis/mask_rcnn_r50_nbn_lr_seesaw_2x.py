"""Seesaw, NBN and logit rectification ("+NBN+LR"): the 1,203 class logits are rectified, the two of objectness not."""
_base_ = './mask_rcnn_r50_nbn_seesaw_2x.py'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            cls_predictor_cfg=dict(
                type='RectifiedPredictor', base='NormedLinear', rectification=dict(unrectified=2)))))
