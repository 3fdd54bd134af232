"""ResNet-18 of a quarter of the width with BN and LWS, 6 epochs of stage 1 and 2 of stage 2, on Tiny-ImageNet-LT.

Train: ``python tools/train.py configs/tiny_imagenet_lt/resnet18q_bn_lws_8e_tiny_imagenet_lt.py``
"""
_base_ = 'resnet18q_bn_crt_8e_tiny_imagenet_lt.py'

model = dict(head=dict(predictor=dict(type='LearnableWeightScaling')))
default_hooks = dict(stage=dict(stages=[
    dict(begin=0, freeze=[r'^head\.fc\.scales'], needs_checkpoint=False),
    dict(begin=6, sampler=dict(type='ClassBalancedSampler', num_samples_per_class=4),
         freeze=[r'^backbone\.', r'^head\.fc\.(weight|bias)'], norm='frozen')]))
