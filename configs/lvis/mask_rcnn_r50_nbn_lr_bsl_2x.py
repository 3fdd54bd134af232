_base_ = './mask_rcnn_r50_nbn_bsl_2x.py'
model = dict(roi_head=dict(bbox_head=dict(cls_predictor_cfg=dict(type='RectifiedPredictor', base='NormedLinear'))))
