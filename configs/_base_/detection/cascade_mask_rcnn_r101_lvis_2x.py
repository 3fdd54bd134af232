# Cascade Mask R-CNN R101-FPN on LVIS v1 with Seesaw, random sampling, 24 epochs: the host's recipe with the loss,
# data, evaluation and hooks of mask_rcnn_r50_lvis_2x.py.
_base_ = 'mmdet::seesaw_loss/cascade-mask-rcnn_r101_fpn_seesaw-loss_random-ms-2x_lvis-v1.py'
custom_imports = dict(imports=['nbn_mm'])

model = dict(
    roi_head=dict(
        type='FastCascadeRoIHead',
        bbox_head=[
            dict(head, type='FastShared2FCBBoxHead', loss_cls=dict(head.loss_cls, type='FastSeesawLoss'))
            for head in _base_.model.roi_head.bbox_head
        ],
        mask_head=dict(type='FastFCNMaskHead')),
    test_cfg=dict(rcnn=dict(mask_format='box')))

train_dataloader = dict(dataset=dict(type='LVISFormatDataset'))
val_dataloader = dict(dataset=dict(type='LVISFormatDataset'))
test_dataloader = val_dataloader

val_evaluator = dict(
    _delete_=True, type='StreamingLVISMetric', ann_file='data/lvis_v1/annotations/lvis_v1_val.json',
    metric=['bbox', 'segm'])
test_evaluator = val_evaluator

auto_scale_lr = dict(enable=True, base_batch_size=16)

default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=3),
    class_counts=dict(type='ClassCountsHook'),
    checkpoint_guard=dict(type='CheckpointGuardHook'),
    finite_loss=dict(type='FiniteLossHook'),
    nbn_start=dict(type='NBNStartHook'),
    log_history=dict(type='LogHistoryHook'))
randomness = dict(seed=0, deterministic=False)
