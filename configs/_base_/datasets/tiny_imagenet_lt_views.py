# Tiny-ImageNet-LT in the three views of balanced contrastive learning (bcl_views.py), with this family's crop.
_base_ = 'tiny_imagenet_lt_per_image.py'

crop_and_flip = [
    dict(type='RandomCrop', crop_size=64, padding=8),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
]
train_dataloader = dict(
    num_workers=2,
    dataset=dict(pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='MultiView', num_views=[1, 2], transforms=[
            [
                *crop_and_flip,
                dict(type='TableColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
                dict(type='RandAugment', policies='timm_increasing', num_policies=2, magnitude_level=10,
                     magnitude_std=0.5),
            ],
            [
                *crop_and_flip,
                dict(type='RandomApply', prob=0.8, transforms=[
                    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)]),
                dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)),
            ],
        ]),
        dict(type='PackInputs'),
    ]))
