# CIFAR-10-LT, imbalance factor 100, with the augmentation of Balanced Softmax's CIFAR recipe. The images live on the
# device of the model and whole batches are augmented there; cifar10_lt_per_image.py reads and augments image by image.
dataset_type = 'CIFAR10LT'
data_root = 'data/cifar10'

train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='CIFARAutoAugment'),
    dict(type='CIFARCutout', size=16),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]

# The recipe's batch of 512 is the total over all ranks; tools/train.py divides it.
global_batch_size = 512
train_dataloader = dict(
    batch_size=512,
    num_workers=0,
    drop_last=True,
    collate_fn=dict(type='device_collate'),
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='DeviceDataset',
        dataset=dict(type=dataset_type, data_root=data_root, split='train', imbalance_factor=100),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    collate_fn=dict(type='device_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='DeviceDataset',
        dataset=dict(type=dataset_type, data_root=data_root, split='test'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='BatchEvaluator', metrics=[dict(type='ShotGroupMetric', topk=(1, 5)), dict(type='CalibrationMetric')])
test_evaluator = val_evaluator
