# Tiny-ImageNet-LT: 200 classes, 21,549 training photographs of 64 x 64, 500 ... 5 a class, 10,000 balanced test images.
# The images live on the device of the model; tiny_imagenet_lt_per_image.py reads and augments them one by one.
dataset_type = 'ImageListLT'
data_root = 'data/tiny_imagenet_lt'
classes = data_root + '/classes.txt'

train_pipeline = [
    dict(type='RandomCrop', crop_size=64, padding=8),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]
load_pipeline = [dict(type='LoadImageFromFile')]

# The total over all ranks; tools/train.py divides it.
global_batch_size = 128
train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    drop_last=True,
    collate_fn=dict(type='device_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='DeviceDataset',
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            ann_file='TinyImageNet_LT_train.txt',
            classes=classes,
            pipeline=load_pipeline),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    collate_fn=dict(type='device_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='DeviceDataset',
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            ann_file='TinyImageNet_LT_test.txt',
            classes=classes,
            test_mode=True,
            pipeline=load_pipeline),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='BatchEvaluator', metrics=[dict(type='ShotGroupMetric', topk=(1, 5)), dict(type='CalibrationMetric')])
test_evaluator = val_evaluator
