"""EQL (Tan et al., CVPR 2020), sigmoid form; categories in less than 0.0011 of the training images are not suppressed."""
_base_ = './mask_rcnn_r50_bn_seesaw_2x.py'
model = dict(roi_head=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type='EqualizationLoss', num_classes=1203, threshold=0.0011))))
