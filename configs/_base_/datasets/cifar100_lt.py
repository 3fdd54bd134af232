# CIFAR-100-LT: CIFAR-10-LT's pipeline and batch on the other data set.
_base_ = 'cifar10_lt.py'

dataset_type = 'CIFAR100LT'
data_root = 'data/cifar100'
train_dataloader = dict(dataset=dict(dataset=dict(type=dataset_type, data_root=data_root)))
val_dataloader = dict(dataset=dict(dataset=dict(type=dataset_type, data_root=data_root)))
test_dataloader = val_dataloader
