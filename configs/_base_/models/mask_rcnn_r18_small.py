# A small Mask R-CNN that trains from random weights on a CPU: ResNet-18 of a quarter of the width, FPN of 64 channels.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
model = dict(
    backbone=dict(
        depth=18, base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None, zero_init_residual=False),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[6])),
    roi_head=dict(
        type='FastStandardRoIHead',
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(
            type='FastShared2FCBBoxHead',
            in_channels=64,
            fc_out_channels=256,
            reg_class_agnostic=True,
            cls_predictor_cfg=dict(type='NormedLinear')),  # temperature 20, its default
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(type='FastFCNMaskHead', in_channels=64, conv_out_channels=64, num_convs=2, class_agnostic=True)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(
        rpn=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(score_thr=0.0001, max_per_img=300)))
