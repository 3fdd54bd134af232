"""Mask R-CNN R50, EQLv2 (Tan et al., CVPR 2021), 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_bn_eqlv2_2x.py 8
"""
_base_ = './mask_rcnn_r50_bn_seesaw_2x.py'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            loss_cls=dict(_delete_=True, type='EqualizationV2Loss', num_classes=1203, prior_prob=0.001))))
