_base_ = './cascade_mask_rcnn_r101_bn_seesaw_2x.py'
model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(init_magnitude='pretrained')))
