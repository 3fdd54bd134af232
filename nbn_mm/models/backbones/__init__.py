"""The NBN entry point and backbones that the hosts lack."""
from .cifar_resnet import CIFARResNet
from .nbn_backbone import NBNBackbone

__all__ = ['CIFARResNet', 'NBNBackbone']
