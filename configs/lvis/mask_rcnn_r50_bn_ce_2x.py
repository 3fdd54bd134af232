"""Cross-entropy over 1,203 classes and background, behind the normalised linear classifier.

    bash tools/dist_train.sh configs/lvis/mask_rcnn_r50_bn_ce_2x.py 8

Table XIV of the paper, AP / APr / APc / APf (published, not re-run):
boxes 19.9 / 1.3 / 16.7 / 29.3, masks 19.2 / 0.0 / 17.2 / 29.5.
"""
_base_ = './mask_rcnn_r50_bn_seesaw_2x.py'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            loss_cls=dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0))))
