# CIFAR-10-LT read and augmented image by image in worker processes: for transforms that have no batched form.
_base_ = 'cifar10_lt.py'

train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        _delete_=True,
        type={{_base_.dataset_type}},
        data_root={{_base_.data_root}},
        split='train',
        imbalance_factor=100,
        pipeline={{_base_.train_pipeline}}))
val_dataloader = dict(
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        _delete_=True,
        type={{_base_.dataset_type}},
        data_root={{_base_.data_root}},
        split='test',
        pipeline={{_base_.test_pipeline}}))
test_dataloader = val_dataloader
