# Places-LT (Liu et al., CVPR 2019): 62,500 training images of 365 scenes, 4,980 ... 5 a class. Selected on 'val',
# reported on 'test'.
_base_ = 'imagenet_lt.py'

dataset_type = 'PlacesLT'
data_root = 'data/places_lt'
global_batch_size = 256
train_dataloader = dict(batch_size=256, dataset=dict(type=dataset_type, data_root=data_root))
val_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root))
test_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root))
