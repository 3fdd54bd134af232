"""Folding: a trained network with NBN and logit rectification becomes a plain BN network with linear classifiers.

NBN -> BN is exact to the last bit, because NBN in evaluation *is* batch normalization with the effective weight and
bias. Logit rectification -> Linear is exact up to rounding: ``(Wx + b - mean) / std`` is again linear in ``x``. What is
not linear in its input (a normalised classifier, say) keeps its logit rectification and is named in the report, as are
CompoundBN, which no batch norm equals, and every module that only this package defines.
"""
import copy
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers import NBN, AllReduceBN, CompoundBN, InverseFrequencyLinear, LearnableWeightScaling, LogitRectification
from .checkpointing import restore_checkpointing
from .fold_config import DROP_INS, ROW_BLOCKS
from .joint_forward import restore_forward
from .owner import NBNOwner

_PACKAGE = __name__.split('.')[0]


@dataclass
class FoldReport:
    """What :func:`fold` did.

    Args:
        norms (list[str]): Names of the norm layers that became plain BN.
        classifiers (list[str]): Names of the classifiers into which logit rectification or the scales of LWS were
            folded.
        remaining (dict[str, str]): Module name to the reason why the network still needs this package there.
    """
    norms: list[str] = field(default_factory=list)
    classifiers: list[str] = field(default_factory=list)
    remaining: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f'{len(self.norms)} norm layers became BN; {len(self.classifiers)} classifiers took in their logit '
                 'rectification or scales.']
        if self.remaining:
            lines.append(f'The folded network still needs {_PACKAGE}:')
            lines += [f'  {name or "model"}: {reason}' for name, reason in self.remaining.items()]
        else:
            lines.append(f'The folded network needs no part of {_PACKAGE}.')
        return '\n'.join(lines)


def fold(model: nn.Module) -> tuple[nn.Module, FoldReport]:
    """Return a copy of a network in which NBN is plain BN and logit rectification is part of the classifier.

    Args:
        model (nn.Module): A network with ``NBN``, ``AllReduceBN`` or ``LogitRectification`` layers. It is not changed.

    Returns:
        tuple[nn.Module, FoldReport]: The folded copy in evaluation mode, and what was done. The copy's state dict has
        the keys of the plain network: no magnitude, no gain, no logit rectification.

    Raises:
        ValueError: If there is nothing to fold.
    """
    folded = copy.deepcopy(model)
    folded.eval()  # some hosts' backbones return nothing here
    report = FoldReport()
    for name, module in list(folded.named_modules()):
        restore_checkpointing(module)
        restore_forward(module)
        for child_name, child in list(module.named_children()):
            full_name = f'{name}.{child_name}' if name else child_name
            if isinstance(child, (NBN, AllReduceBN)):
                setattr(module, child_name, fold_norm(child, rows=type(module).__name__ in ROW_BLOCKS))
                report.norms.append(full_name)
            elif isinstance(child, NBNOwner):
                delattr(module, child_name)
            elif isinstance(child, CompoundBN):
                report.remaining[full_name] = (
                    f'CompoundBN mixes {child.num_components} components by weights that depend on its input, which no '
                    'batch norm does: it cannot be folded')
            elif isinstance(child, (LearnableWeightScaling, InverseFrequencyLinear)):
                setattr(module, child_name, child.as_linear())
                report.classifiers.append(full_name)
            elif isinstance(getattr(child, 'logit_rectification', None), LogitRectification):
                if _is_linear(child):
                    setattr(module, child_name, fold_classifier(child))
                    report.classifiers.append(full_name)
                else:
                    report.remaining[full_name] = (
                        f'logit rectification over {type(child).__name__}, which is not linear in its input')
    if not (report.norms or report.classifiers or report.remaining):
        raise ValueError(f'{type(model).__name__} holds no NBN, AllReduceBN, logit rectification or learnable weight '
                         'scaling: there is nothing to fold.')
    covered = list(report.remaining)  # what lies in these needs no line of its own
    for name, module in folded.named_modules():
        own = type(module).__module__.split('.')[0] == _PACKAGE and type(module).__name__ not in DROP_INS
        if own and name not in covered and not any(name.startswith(f'{known}.') for known in covered):
            covered.append(name)
            if not _is_stock_head(module):
                report.remaining[name] = f'{type(module).__name__} is defined by {_PACKAGE}'
    return folded, report


def fold_norm(layer: nn.Module, rows: bool = False) -> _BatchNorm:
    """The batch norm whose evaluation output equals that of an NBN or AllReduceBN layer bit by bit.

    Args:
        layer (NBN | AllReduceBN): A layer with C features.
        rows (bool): Whether its inputs are rows ``(N, C)``, which ``nn.BatchNorm2d`` does not take. Defaults to False.

    Returns:
        _BatchNorm: Of the type that the layer replaced (by default ``nn.BatchNorm2d``, of rows 1d), with weight and
        bias (C, ) set to the effective vectors, in evaluation mode.
    """
    kind = nn.BatchNorm1d if rows and layer.source_type is nn.BatchNorm2d else layer.source_type
    plain = kind(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    if layer.track_running_stats:
        for name in ('running_mean', 'running_var', 'num_batches_tracked'):
            setattr(plain, name, getattr(layer, name).detach().clone())
    if layer.affine:
        plain.weight = nn.Parameter(layer.weight.detach().clone())
        plain.bias = nn.Parameter(layer.bias.detach().clone())
    return plain.eval()


def fold_classifier(classifier: nn.Linear) -> nn.Linear:
    """The linear layer that equals a linear layer followed by logit rectification at test.

    Args:
        classifier (nn.Linear): Weight (C, D), with the child ``logit_rectification``.

    Returns:
        nn.Linear: Weight (C, D) and bias (C, ), computed in float64 and stored in the classifier's type.
    """
    scale, shift = classifier.logit_rectification.affine()
    weight = classifier.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if classifier.bias is None else classifier.bias.detach().double()
    plain = nn.Linear(classifier.in_features, classifier.out_features).to(classifier.weight)
    with torch.no_grad():
        plain.weight.copy_(weight * scale[:, None])
        plain.bias.copy_(bias * scale + shift)
    return plain.eval()


def _is_linear(module: nn.Module) -> bool:
    """Whether a module computes ``Wx + b`` as nn.Linear does (mmcv wraps it under the same name)."""
    return isinstance(module, nn.Linear) and type(module).__name__ == 'Linear'


def _is_stock_head(module: nn.Module) -> bool:
    """Whether the folded config replaces it, with its loss: a long-tail head around a linear layer with bias."""
    return type(module).__name__ == 'LongTailClsHead' and type(module.fc) is nn.Linear and module.fc.bias is not None
