"""What batch norm does in a stage."""
from collections.abc import Iterator, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...models.layers.magnitude import MagnitudeHolder


def norm_layers(model: nn.Module, reinit: Sequence[str] = ()) -> Iterator[tuple[str, nn.Module]]:
    """Name and layer of every batch norm, NBN included, outside of the modules that were re-initialised.

    Args:
        model (nn.Module): The model, not wrapped.
        reinit (Sequence[str]): Names of these modules.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and not any(name == part or name.startswith(f'{part}.') for part in reinit):
            yield name, module


def magnitude_names(model: nn.Module) -> set[str]:
    """Names of NBN's learnable magnitudes, those of owners and those of layers."""
    ids = {id(magnitude) for module in model.modules() if isinstance(module, MagnitudeHolder)
           for magnitude in module.magnitudes_by_key().values()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in ids}


def norm_parameter_names(model: nn.Module, reinit: Sequence[str] = ()) -> set[str]:
    """Names of the affine parameters of batch norm, NBN's directions and magnitudes included."""
    ids = {id(parameter) for _, layer in norm_layers(model, reinit) for parameter in layer.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in ids} | magnitude_names(model)


def layers_in_eval_mode(model: nn.Module, norm: str, reinit: Sequence[str] = ()) -> list[nn.Module]:
    """The batch norm layers that normalise by their running statistics under a policy, which then stay as they are.

    Args:
        model (nn.Module): The model, not wrapped.
        norm (str): ``'frozen'`` and ``'magnitude'``: all; ``'train'`` and ``'shifted'``: none.
        reinit (Sequence[str]): Names of re-initialised modules, whose layers train.
    """
    if norm not in ('frozen', 'magnitude'):
        return []
    return [layer for _, layer in norm_layers(model, reinit)]
