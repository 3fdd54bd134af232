# Mask R-CNN R50-FPN on LVIS v1 with Seesaw, random sampling, 24 epochs: the host's recipe, and what this package adds.
# Total batch 16 (8 x 2) at lr 0.02; other batches are scaled linearly (the NBN paper's 4 / 0.005 is the same rule).
_base_ = 'mmdet::seesaw_loss/mask-rcnn_r50_fpn_seesaw-loss_random-ms-2x_lvis-v1.py'
custom_imports = dict(imports=['nbn_mm'])

# The host's loss, without a wait for the GPU for each class in the batch.
# The Fast heads train as the host's do, and do less at test: docs/lvis_inference.md.
model = dict(
    roi_head=dict(
        type='FastStandardRoIHead',
        bbox_head=dict(type='FastShared2FCBBoxHead', loss_cls=dict(type='FastSeesawLoss')),
        mask_head=dict(type='FastFCNMaskHead')),
    test_cfg=dict(rcnn=dict(mask_format='box')))

# Class names, file names and numbers are checked before training.
train_dataloader = dict(dataset=dict(type='LVISFormatDataset'))
val_dataloader = dict(dataset=dict(type='LVISFormatDataset'))
test_dataloader = val_dataloader

# Numbers of the official lvis package, taken image by image while inference runs.
val_evaluator = dict(
    _delete_=True, type='StreamingLVISMetric', ann_file='data/lvis_v1/annotations/lvis_v1_val.json',
    metric=['bbox', 'segm'])
test_evaluator = val_evaluator

auto_scale_lr = dict(enable=True, base_batch_size=16)

default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=3),
    # counts of the training set, for losses that need them; kept in the checkpoint
    class_counts=dict(type='ClassCountsHook'),
    # refuses a checkpoint that does not belong to the model
    checkpoint_guard=dict(type='CheckpointGuardHook'),
    # stops at a loss that is not finite, before it is saved
    finite_loss=dict(type='FiniteLossHook'),
    # logs how far the network with NBN is from the pretrained one when training starts; silent without NBN
    nbn_start=dict(type='NBNStartHook'),
    # the same log; without it each iteration copies, and each checkpoint holds, all values logged so far
    log_history=dict(type='LogHistoryHook'))
randomness = dict(seed=0, deterministic=False)
