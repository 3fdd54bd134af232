"""Attributes of the run by dotted path."""
from typing import Any

import torch


def _step(node: Any, name: str) -> Any:
    if isinstance(node, dict):
        return node[name]
    if name.isdigit() and hasattr(node, '__getitem__'):
        return node[int(name)]
    return getattr(node, name)


def resolve(roots: dict[str, Any], path: str) -> tuple[Any, str]:
    """The object that holds the last part of a path, and that part.

    Args:
        roots (dict): First part of the path → object, such as ``'model'``.
        path (str): Names of attributes, keys of dicts and indices of sequences, joined by dots.

    Raises:
        ValueError: If a part does not exist, or the last one is a tensor or a module.
    """
    first, *rest = path.split('.')
    if first not in roots or not rest:
        raise ValueError(f'StageHook: set: {path!r} must begin with one of {sorted(roots)} and name an attribute '
                         'of it.')
    node, holder, done = roots[first], None, first
    for name in rest:
        try:
            holder, node = node, _step(node, name)
        except (AttributeError, KeyError, IndexError, TypeError):
            raise ValueError(f'StageHook: set: {path!r}: {done} ({type(node).__name__}) has no {name!r}.') from None
        done += f'.{name}'
    if isinstance(node, (torch.Tensor, torch.nn.Module)):
        raise ValueError(f'StageHook: set: {path!r} is a {type(node).__name__}; only plain values can be set.')
    return holder, rest[-1]


def set_attribute(roots: dict[str, Any], path: str, value: Any) -> None:
    """Set what a path names; see :func:`resolve`."""
    holder, name = resolve(roots, path)
    if isinstance(holder, dict):
        holder[name] = value
    elif name.isdigit() and hasattr(holder, '__setitem__'):
        holder[int(name)] = value
    else:
        setattr(holder, name, value)
