"""Cross-entropy over 1,203 classes and background."""
_base_ = './mask_rcnn_r50_bn_seesaw_2x.py'
model = dict(roi_head=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0))))
