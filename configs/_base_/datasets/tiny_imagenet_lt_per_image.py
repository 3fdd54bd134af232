# Tiny-ImageNet-LT read and augmented image by image in worker processes: for transforms that have no batched form.
_base_ = 'tiny_imagenet_lt.py'

train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        _delete_=True,
        type={{_base_.dataset_type}},
        data_root={{_base_.data_root}},
        ann_file='TinyImageNet_LT_train.txt',
        classes={{_base_.classes}},
        pipeline=[dict(type='LoadImageFromFile'), *_base_.train_pipeline]))
