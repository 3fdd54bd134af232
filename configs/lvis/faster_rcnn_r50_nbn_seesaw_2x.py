_base_ = './faster_rcnn_r50_bn_seesaw_2x.py'
model = dict(backbone=dict(type='NBNBackbone', base='ResNet', nbn=dict(init_magnitude='pretrained')))
