"""The entry points of NBN and CompoundBN, and backbones that the hosts lack."""
from .cifar_resnet import CIFARResNet
from .compound_bn_backbone import CompoundBNBackbone
from .multi_expert_backbone import MultiExpertBackbone
from .nbn_backbone import NBNBackbone

__all__ = ['CIFARResNet', 'CompoundBNBackbone', 'MultiExpertBackbone', 'NBNBackbone']
