"""Mask R-CNN R50, Seesaw, repeat-factor sampling, 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_bn_seesaw_rfs_2x.py 8
"""
_base_ = './mask_rcnn_r50_bn_seesaw_2x.py'
# Repeat-factor sampling: images of classes in less than 0.001 of the images are repeated.
train_dataloader = dict(
    dataset=dict(
        _delete_=True, type='ClassBalancedDataset', oversample_thr=1e-3, dataset={{_base_.train_dataloader.dataset}}))
