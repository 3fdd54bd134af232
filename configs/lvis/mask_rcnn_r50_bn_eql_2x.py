"""EQL (Tan et al., CVPR 2020), sigmoid form; classes in less than 0.0011 of the images are not suppressed.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_bn_eql_2x.py 8

Table XIV of the paper, AP / APr / APc / APf (published, not re-run):
boxes 22.0 / 10.7 / 18.8 / 30.6, masks 22.7 / 15.1 / 20.4 / 28.6.
That row resembles published results of EQLv2 more than of EQL: see docs/lvis_losses.md.
"""
_base_ = './mask_rcnn_r50_bn_seesaw_2x.py'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            loss_cls=dict(
                _delete_=True, type='EqualizationLoss', num_classes=1203, threshold=0.0011, prior_prob=0.001))))
