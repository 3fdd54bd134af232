# ImageNet-LT (Liu et al., CVPR 2019): 115,846 training images of 1,000 classes, 1,280 ... 5 a class. Selected on the
# 20,000-image validation list, reported on the 50,000-image test list. docs/data_sets.md says where the files go.
dataset_type = 'ImageNetLT'
data_root = 'data/imagenet'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    # the host's ColorJitter with the same pixels, faster
    dict(type='TableColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

# The total over all ranks; tools/train.py divides it.
global_batch_size = 512
train_dataloader = dict(
    batch_size=512,
    num_workers=16,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, data_root=data_root, split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=256,
    num_workers=16,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, split='val', pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=256,
    num_workers=16,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, split='test', pipeline=test_pipeline))

val_evaluator = [dict(type='ShotGroupMetric', topk=(1, 5)), dict(type='CalibrationMetric')]
test_evaluator = val_evaluator
