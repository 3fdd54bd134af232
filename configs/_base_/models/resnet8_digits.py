# ResNet-8 for the 8x8 digits, which the pipeline enlarges to 16x16.
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[77.8] * 3, std=[95.9] * 3, to_rgb=False),
    backbone=dict(type='CIFARResNet', depth=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LongTailClsHead',
        num_classes=10,
        in_channels=64,
        predictor=dict(type='Linear'),
        loss=dict(type='CrossEntropyLoss')))
