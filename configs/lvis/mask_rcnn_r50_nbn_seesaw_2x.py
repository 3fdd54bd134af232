"""Mask R-CNN R50, Seesaw + NBN, 2x.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_nbn_seesaw_2x.py 8
    bash tools/dist_test.sh configs/lvis/mask_rcnn_r50_nbn_seesaw_2x.py WORK_DIR/epoch_24.pth 8
"""
_base_ = './mask_rcnn_r50_bn_seesaw_2x.py'
model = dict(
    backbone=dict(
        type='NBNBackbone',
        base='ResNet',
        # The first network equals the ImageNet one; docs/lvis_backbone.md compares the starts.
        nbn=dict(init_magnitude='pretrained'),
        # As in the host's recipe, for NBN layers too: with 2 images per GPU the statistics of a batch are poorer than
        # ImageNet's, so norm_eval keeps those, which leaves nothing for SyncBN to synchronise. Directions and the
        # shared magnitude train all the same. Only the first stage is frozen; the magnitude belongs to no stage.
        frozen_stages=1,
        norm_eval=True))
