"""A small Mask R-CNN with NBN, logit rectification and Balanced Softmax on generated shapes.

    python tools/dataset_converters/make_shapes_lvis.py data/shapes_lvis
    python tools/train.py configs/demo/mask_rcnn_r18_nbn_lr_bsl_shapes_lvis.py
"""
_base_ = './mask_rcnn_r18_nbn_seesaw_shapes_lvis.py'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            cls_predictor_cfg=dict(type='RectifiedPredictor', base='NormedLinear', rectification=dict(unrectified=1)),
            loss_cls=dict(_delete_=True, type='BoxBalancedSoftmaxLoss'))))
