"""Vectors as direction and magnitude, the arithmetic of NBN."""
import torch
from torch import Tensor


def vector_length(vector: Tensor, delta: float | None = None) -> Tensor:
    """‖v‖ over the last dimension, or √(‖v‖² + δ²) with a δ. The gradient of ‖v‖ at 0 is 0.

    Args:
        vector (Tensor): Shape ``(*, C)``.
        delta (float, optional): δ.

    Returns:
        Tensor: Shape ``(*, 1)``.
    """
    if delta is None:
        return torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return (vector.square().sum(-1, keepdim=True) + delta**2).sqrt()


def effective_vector(direction: Tensor,
                     magnitude: Tensor,
                     norm_eps: float = 1e-6,
                     normalize: bool = True,
                     delta: float | None = None,
                     gain: Tensor | None = None) -> Tensor:
    """g · v / (‖v‖ + ε), computed in at least float32 whatever autocast says.

    Args:
        direction (Tensor): v, shape ``(C, )``, or ``(R, C)`` for R vectors.
        magnitude (Tensor): g, shape ``()``, or ``(R, 1)`` for one a vector.
        norm_eps (float): ε. Defaults to 1e-6.
        normalize (bool): False: g · v.
        delta (float, optional): δ of the smooth length, see :func:`vector_length`.
        gain (Tensor, optional): A factor of g, in a shape of ``magnitude``.

    Returns:
        Tensor: Shape and dtype of ``direction``.
    """
    dtype = torch.promote_types(direction.dtype, torch.float32)
    vector, scale = direction.to(dtype), magnitude.to(dtype)
    if gain is not None:
        scale = scale * gain.to(dtype)
    if normalize:
        scale = scale / (vector_length(vector, delta) + norm_eps)
    return (scale * vector).to(direction.dtype)


def is_zero(vector: Tensor) -> bool:
    """Whether all entries are 0; False on the meta device, where nothing is known."""
    return not vector.is_meta and not bool(vector.detach().any())


def random_direction(vector: Tensor, generator: torch.Generator | None = None) -> None:
    """Fill ``(C, )`` with a random direction of norm 1."""
    sample = torch.randn(vector.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        vector.copy_(sample / sample.norm())
