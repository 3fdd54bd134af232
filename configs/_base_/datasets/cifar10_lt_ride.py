# CIFAR-10-LT with RIDE's augmentation: crop, flip, rotation by -15 to 15 degrees, batches of 128. Image by image,
# because a rotation by any angle has no batched form.
_base_ = 'cifar10_lt_per_image.py'

train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='Rotate', magnitude_range=(0, 15), magnitude_std='inf', prob=1.0, pad_val=0),
    dict(type='PackInputs'),
]

global_batch_size = 128
train_dataloader = dict(
    batch_size=128,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline))
