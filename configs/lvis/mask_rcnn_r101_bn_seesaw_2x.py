_base_ = './mask_rcnn_r50_bn_seesaw_2x.py'
model = dict(backbone=dict(depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101')))
