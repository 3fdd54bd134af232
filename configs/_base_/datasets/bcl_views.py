# Three views of each image for balanced contrastive learning: the first for the classifier, two for the contrastive
# loss. A leaf puts the pipeline into its data set; `MultiView` and the transforms are the host's, whose RandAugment has
# timm's "increasing" set of operations.
bcl_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiView', num_views=[1, 2], transforms=[
        [
            dict(type='RandomResizedCrop', scale=224),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='TableColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
            dict(type='RandAugment', policies='timm_increasing', num_policies=2, magnitude_level=10, magnitude_std=0.5),
        ],
        [
            dict(type='RandomResizedCrop', scale=224),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='RandomApply', prob=0.8, transforms=[
                dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)]),
            dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)),
        ],
    ]),
    dict(type='PackInputs'),
]
