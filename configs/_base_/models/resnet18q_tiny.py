# ResNet-18 of a quarter of the width, ImageNet's stem: small enough to train on a CPU.
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='BatchClsDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True),
    backbone=dict(type='ResNet', depth=18, base_channels=16, stem_channels=16, out_indices=(3, ), style='pytorch'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LongTailClsHead',
        num_classes=200,
        in_channels=128,
        predictor=dict(type='Linear'),
        loss=dict(type='CrossEntropyLoss')))
