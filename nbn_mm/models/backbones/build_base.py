"""Building the host's own backbone behind an entry point."""
from typing import Any

from mmengine.registry import MODELS, DefaultScope, Registry
from torch import nn


def build_base(base: str | type, field: str, options: dict[str, Any] | None, placement_options: tuple[str, ...],
               **kwargs: Any) -> nn.Module:
    """Build a backbone of the host in the current scope.

    Args:
        base (str | type): The backbone's type; ``'mmpretrain.ResNet'`` names the host.
        field (str): The config field of the entry point's own options.
        options (dict, optional): These options.
        placement_options (tuple[str]): Names that belong among them and not beside.
        **kwargs: Arguments of the backbone.

    Raises:
        KeyError: If no registry knows ``base``.
        ValueError: If several hosts know ``base`` and none is named, or an option stands in the wrong place.
        TypeError: If ``options`` is no dict or ``base`` builds no module.
    """
    if options is not None and not isinstance(options, dict):
        raise TypeError(f'backbone.{field}={options!r} must be a dict of options, or None for the defaults.')
    misplaced = [key for key in placement_options if key in kwargs]
    if misplaced:
        raise ValueError(f'backbone.{misplaced[0]}={kwargs[misplaced[0]]!r} belongs into backbone.{field}=dict('
                         f'{misplaced[0]}=...).')
    return build_network(base, 'backbone.base', kwargs)


def build_network(base: str | type, field: str, arguments: dict[str, Any]) -> nn.Module:
    """Build a network of the host in the current scope.

    Args:
        base (str | type): The network's type; ``'mmpretrain.ResNet'`` names the host.
        field (str): The config field that holds it, for messages.
        arguments (dict): Arguments of the network.

    Raises:
        KeyError, ValueError, TypeError: As :func:`build_base`.
    """
    with MODELS.switch_scope_and_registry(None) as registry:
        network = registry.build(dict(type=base, **_scope(base, registry, field), **arguments))
    if not isinstance(network, nn.Module):
        raise TypeError(f'{field}={base!r} builds a {type(network).__name__}, which is no torch module.')
    return network


def _scope(base: str | type, registry: Registry, field: str) -> dict[str, str]:
    """The scope in which ``base`` is built, as a config key: the current one, else that of the host that knows it."""
    option = field.rpartition('.')[2]
    if not isinstance(base, str):
        if not callable(base):
            raise TypeError(f'{field}={base!r} must be the name of a backbone, such as \'ResNet\', or its class.')
        return {}
    if registry.get(base) is not None:
        scope, name = Registry.split_scope_key(base)
        inherits = DefaultScope.get_current_instance() is not None
        return {} if inherits or scope is None else {'_scope_': scope}
    hosts = sorted(scope for scope, child in MODELS.children.items() if child.get(base) is not None)
    if DefaultScope.get_current_instance() is not None:
        hint = f"; did you mean {option}='{hosts[0]}.{base}'?" if hosts else ''
        raise KeyError(f'{field}={base!r} is not in the registry of {registry.scope!r}{hint}')
    if not hosts:
        raise KeyError(f'{field}={base!r} is in no registry; imported hosts: '
                       f'{sorted(MODELS.children) or "none"}. Check the name and custom_imports.')
    if len(hosts) > 1:
        raise ValueError(f'{field}={base!r} is known to {" and ".join(hosts)}: set default_scope, or name the '
                         f"host, {option}='{hosts[0]}.{base}'.")
    return {'_scope_': hosts[0]}
