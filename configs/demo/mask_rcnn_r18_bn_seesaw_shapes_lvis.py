"""A small Mask R-CNN with Seesaw on generated shapes, trained from random weights on a CPU in a minute or two.

    python tools/dataset_converters/make_shapes_lvis.py data/shapes_lvis
    python tools/train.py configs/demo/mask_rcnn_r18_bn_seesaw_shapes_lvis.py
"""
_base_ = [
    '../_base_/models/mask_rcnn_r18_small.py', '../_base_/datasets/shapes_lvis.py', '../_base_/schedules/shapes.py',
    '../_base_/default_runtime_det.py'
]
model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=9, loss_cls=dict(_delete_=True, type='FastSeesawLoss', num_classes=9)),
        mask_head=dict(num_classes=9)),
    test_cfg=dict(rcnn=dict(mask_format='box')))
