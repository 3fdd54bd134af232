"""The effective vectors of many NBN layers at once, and how long layers may use them.

One layer's vectors take some forty small operations in a training step, which a GPU launches one by one. Vectors of one
size are stacked here, so that the step has about twenty of them whatever the number of layers.

Nothing outlives the forward for which it was computed: :func:`hold_vectors` and :func:`release_vectors` enclose it.
"""
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from .directions import effective_vector

if TYPE_CHECKING:
    from .nbn import NBN

NAMES = ('weight', 'bias')


def effective_vectors(layers: Sequence['NBN']) -> list[dict[str, Tensor]]:
    """The effective vectors of layers that have the same options.

    Args:
        layers (Sequence[NBN]): The layers, layer i with C_i features.

    Returns:
        list[dict[str, Tensor]]: For each layer ``weight`` and ``bias``, shape ``(C_i, )``.
    """
    options = layers[0].options
    magnitudes: dict[tuple[str, bool], Tensor] = {}  # looked up once each: this runs at every forward
    groups: dict[tuple, list[tuple[int, str, tuple[str, bool]]]] = {}
    for name in NAMES:
        delta = options.smooth_delta if name == 'bias' else None
        for index, layer in enumerate(layers):
            source = (layer.group, options.separate_bias_magnitude and name == 'bias')
            if source not in magnitudes:
                magnitudes[source] = layer.get_magnitude(name)
            direction = layer._parameters[name]
            key = (direction.numel(), direction.dtype, direction.device, delta)
            groups.setdefault(key, []).append((index, name, source))
    found: list[dict[str, Tensor]] = [{} for _ in layers]
    for (*_, delta), members in groups.items():
        sources = [source for _, _, source in members]
        magnitude, gain = magnitudes[sources[0]], None
        if len(set(sources)) > 1:
            magnitude = torch.stack([magnitudes[source] for source in sources]).unsqueeze(1)
        if options.records_gains:
            gain = torch.stack([layers[index]._buffers[f'{name}_gain'] for index, name, _ in members]).unsqueeze(1)
        directions = torch.stack([layers[index]._parameters[name] for index, name, _ in members])
        vectors = effective_vector(directions, magnitude, options.norm_eps, options.normalize, delta, gain)
        for (index, name, _), vector in zip(members, vectors.unbind()):  # noqa: B905, see hold_vectors
            found[index][name] = vector
    return found


def hold_vectors(layers: Sequence['NBN']) -> None:
    """Compute the vectors of layers and let them use these until :func:`release_vectors`."""
    with_grad = torch.is_grad_enabled()
    # older versions of torch.compile know no `strict`
    for layer, vectors in zip(layers, effective_vectors(layers)):  # noqa: B905
        layer._held = dict(vectors, with_grad=with_grad)


def release_vectors(layers: Sequence['NBN']) -> None:
    """End what :func:`hold_vectors` began."""
    for layer in layers:
        layer._held = {}


def held_vectors(layer: 'NBN') -> dict[str, Tensor] | None:
    """The vectors that a layer holds; None if there are none, or none with gradients where these are recorded.

    The dict is put in place whole and never changed, so that another thread, which evaluates the same network, ends its
    own forward without harm to this one.
    """
    held = layer._held
    return held if 'with_grad' in held and (held['with_grad'] or not torch.is_grad_enabled()) else None


def lone_vectors(layer: 'NBN') -> dict[str, Tensor]:
    """The vectors of a layer that runs outside the forward of its backbone.

    Under an owner the vectors of all its layers are computed, so that the bits are those of the backbone's forward.
    Activation checkpointing comes here when it recomputes a block; it compares the number of tensors saved with that of
    the first pass, in which the vectors came from outside the block, so that these are kept from its sight.
    """
    if layer.owner is None:
        return effective_vectors([layer])[0]
    layers = layer.owner.layers
    with ExitStack() as stack:
        if torch.is_grad_enabled() and not is_compiling():
            try:
                stack.enter_context(saved_tensors_hooks(_same, _same))
            except RuntimeError:  # torch.func has no such hooks, and no checkpointing either
                pass
        return effective_vectors(layers)[layers.index(layer)]


def _same(tensor: Tensor) -> Tensor:
    return tensor


def is_compiling() -> bool:
    """Whether ``torch.compile`` traces this; torch 2.0 does not tell."""
    asked = getattr(getattr(torch, 'compiler', None), 'is_compiling', None)
    return asked is not None and asked()
