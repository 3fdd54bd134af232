"""Mask R-CNN R50, Balanced Softmax (Ren et al., NeurIPS 2020) + NBN + LR, 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_nbn_lr_bsl_2x.py 8

The 1,203 class logits are rectified, that of background is not: see docs/lvis_losses.md.
"""
_base_ = './mask_rcnn_r50_nbn_bsl_2x.py'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            cls_predictor_cfg=dict(
                type='RectifiedPredictor', base='NormedLinear', rectification=dict(unrectified=1)))))
