# Digits-LT, imbalance factor 20 by default: two many-shot, four medium-shot and four few-shot classes.
train_pipeline = [
    dict(type='Resize', scale=16, interpolation='bilinear'),
    dict(type='RandomCrop', crop_size=16, padding=2),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='Resize', scale=16, interpolation='bilinear'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='DigitsLT', split='train', imbalance_factor=20, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='DigitsLT', split='test', pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = [dict(type='ShotGroupMetric', topk=(1, )), dict(type='CalibrationMetric')]
test_evaluator = val_evaluator
