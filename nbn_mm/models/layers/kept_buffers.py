"""A forward pass that leaves no trace in the moving statistics."""
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def kept_buffers(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, modules work on copies of their buffers; afterwards they have the untouched originals.

    The originals are put back and not written to, because a graph of an earlier forward may hold them.

    Args:
        modules (Iterable[nn.Module]): Each module itself, without its children.
    """
    originals = [(module, name, buffer) for module in modules
                 for name, buffer in module._buffers.items() if buffer is not None]
    for module, name, buffer in originals:
        module._buffers[name] = buffer.clone()
    try:
        yield
    finally:
        for module, name, buffer in originals:
            module._buffers[name] = buffer
