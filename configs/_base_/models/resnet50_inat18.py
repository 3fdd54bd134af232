# ResNet-50 with a linear classifier of iNaturalist's 8,142 species, and its colour statistics.
_base_ = 'resnet50.py'
model = dict(
    data_preprocessor=dict(num_classes=8142, mean=[118.83, 120.105, 96.9], std=[49.725, 49.47, 48.96]),
    head=dict(num_classes=8142))
