"""Mask R-CNN R50, Balanced Softmax (Ren et al., NeurIPS 2020), 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_bn_bsl_2x.py 8
"""
_base_ = './mask_rcnn_r50_bn_seesaw_2x.py'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            loss_cls=dict(_delete_=True, type='BoxBalancedSoftmaxLoss'))))
