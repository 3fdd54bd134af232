"""EQLv2 (Tan et al., CVPR 2021): gradients of positives and negatives balanced per class."""
_base_ = './mask_rcnn_r50_bn_seesaw_2x.py'
model = dict(roi_head=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type='EqualizationV2Loss', num_classes=1203))))
