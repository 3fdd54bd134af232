_base_ = './mask_rcnn_r50_nbn_seesaw_2x.py'
model = dict(backbone=dict(depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101')))
