"""NBN by hand: forward and every gradient in float64 NumPy, without autograd and without a library's batch norm.

With v a direction, s = ‖v‖ + ε and g the magnitude times the gain, ṽ = g v / s. From ∂ṽ_i/∂v_j = g (δ_ij / s −
v_i v_j / (s² ‖v‖)) and an incoming gradient u: ∂L/∂v = g (u / s − v (v·u) / (s² ‖v‖)), the second term 0 at v = 0;
∂L/∂g = (v·u) / s.
With the smooth length r = √(‖v‖² + δ²), s = r + ε: ∂s/∂v = v / r in place of v / ‖v‖.
"""
import numpy as np


def length(v, delta=None):
    """‖v‖ or √(‖v‖² + δ²)."""
    return np.sqrt((v * v).sum() + (0.0 if delta is None else delta**2))


def effective(v, g, eps, normalize=True, delta=None):
    """ṽ."""
    return g * v / (length(v, delta) + eps) if normalize else g * v


def effective_gradients(v, g, u, eps, normalize=True, delta=None):
    """Gradients with respect to direction and magnitude, for the incoming gradient u."""
    if not normalize:
        return g * u, float((v * u).sum())
    r = length(v, delta)
    s = r + eps
    radial = v * (v * u).sum() / (s * s * r) if r > 0 else np.zeros_like(v)
    return g * (u / s - radial), float((v * u).sum() / s)


def batch_norm(x, w, b, eps, mean=None, var=None):
    """Batch norm of (N, C, *): output, and what its gradient needs. Given statistics are constants (eval mode)."""
    axes = (0, ) + tuple(range(2, x.ndim))
    fixed = mean is not None
    if not fixed:
        mean = x.mean(axes)
        var = ((x - _wide(mean, x))**2).mean(axes)
    x_hat = (x - _wide(mean, x)) / np.sqrt(_wide(var, x) + eps)
    return x_hat * _wide(w, x) + _wide(b, x), (x_hat, np.sqrt(var + eps), axes, fixed)


def batch_norm_gradients(dy, w, saved):
    """Gradients of input, weight and bias."""
    x_hat, std, axes, fixed = saved
    dw, db = (dy * x_hat).sum(axes), dy.sum(axes)
    count = dy.size / dy.shape[1]
    inner = dy if fixed else dy - _wide(db, dy) / count - x_hat * _wide(dw, dy) / count
    return inner * _wide(w / std, dy), dw, db


def _wide(v, x):
    return v.reshape((1, -1) + (1, ) * (x.ndim - 2))


def nbn(x, w, b, g_w, g_b, dy, eps=1e-5, norm_eps=1e-6, normalize=True, delta=None, mean=None, var=None):
    """NBN: output and the gradients of x, w, b, and of both magnitudes, for the incoming gradient dy."""
    w_eff = effective(w, g_w, norm_eps, normalize)
    b_eff = effective(b, g_b, norm_eps, normalize, delta)
    y, saved = batch_norm(x, w_eff, b_eff, eps, mean, var)
    dx, dw_eff, db_eff = batch_norm_gradients(dy, w_eff, saved)
    dw, dg_w = effective_gradients(w, g_w, dw_eff, norm_eps, normalize)
    db, dg_b = effective_gradients(b, g_b, db_eff, norm_eps, normalize, delta)
    return dict(y=y, x=dx, weight=dw, bias=db, weight_magnitude=dg_w, bias_magnitude=dg_b)
