# ResNet-32 with option-A shortcuts and a plain linear classifier.
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        # takes batches of labels, and lists of data samples like the host's
        type='BatchClsDataPreprocessor',
        # RGB statistics of CIFAR-10; the published recipes use them for CIFAR-100 too
        mean=[125.307, 122.961, 113.8575],
        std=[51.5865, 50.847, 51.255],
        to_rgb=False),
    backbone=dict(type='CIFARResNet', depth=32),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LongTailClsHead',
        num_classes=10,
        in_channels=64,
        predictor=dict(type='Linear'),
        loss=dict(type='CrossEntropyLoss')))
