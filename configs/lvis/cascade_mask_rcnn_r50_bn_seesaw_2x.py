_base_ = './cascade_mask_rcnn_r101_bn_seesaw_2x.py'
model = dict(backbone=dict(depth=50, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')))
