# iNaturalist 2018: 437,513 training images of 8,142 species; the validation list is the test, of the last epoch. No
# colour jitter.
_base_ = 'imagenet_lt.py'

dataset_type = 'INaturalist2018'
data_root = 'data/inat18'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root))
test_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root, split='val'))
