"""The options of NBN that a layer and the owner of a shared magnitude have in common."""
import math
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

ZERO_BIAS = ('published', 'random', 'smooth')
PRETRAINED = 'pretrained'
MIN_NORM_EPS = 1e-15  # below, 1 / eps**2 in the gradient leaves the range of float32
MIN_BIAS_DELTA = 1e-15  # below, its square leaves the range of float32
WHERE = "Change it in nbn=dict(...) of the NBNBackbone, or in norm_cfg=dict(type='NBN', ...)."


@dataclass(frozen=True)
class NBNOptions:
    """How an NBN layer turns a direction into an effective vector.

    Args:
        init_magnitude (float | str): Start of the magnitude g, > 0; ``'pretrained'``: g starts at 1 and is multiplied
            by a gain per vector that is recorded at loading, so that the first network equals the loaded one.
        separate_bias_magnitude (bool): Whether the biases have a magnitude of their own.
        learn_magnitude (bool): False keeps the magnitude fixed (a buffer of the same name).
        normalize (bool): False: ``magnitude * weight``.
        norm_eps (float): ε of NBN.
        zero_bias (str): ``'published'``, ``'random'`` (a bias of zero starts as a random direction of norm 1) or
            ``'smooth'`` (‖b‖ is replaced by √(‖b‖² + δ²)).
        bias_delta (float): δ of ``'smooth'``.
        sync (bool): Whether the batch statistics span all ranks.

    Raises:
        ValueError: If a value is out of its range; the message names the option.
    """
    init_magnitude: float | str = 1.0
    separate_bias_magnitude: bool = False
    learn_magnitude: bool = True
    normalize: bool = True
    norm_eps: float = 1e-6
    zero_bias: str = 'published'
    bias_delta: float = 1.0
    sync: bool = False

    def __post_init__(self) -> None:
        if self.init_magnitude != PRETRAINED and not _is_positive(self.init_magnitude):
            raise ValueError(f"init_magnitude={self.init_magnitude!r} must be a number > 0 or 'pretrained'. {WHERE}")
        if not _is_positive(self.norm_eps) or self.norm_eps < MIN_NORM_EPS:
            raise ValueError(f'norm_eps={self.norm_eps!r} must be a number >= {MIN_NORM_EPS}. {WHERE}')
        if self.zero_bias not in ZERO_BIAS:
            raise ValueError(f'zero_bias={self.zero_bias!r} must be one of {ZERO_BIAS}. {WHERE}')
        if not _is_positive(self.bias_delta) or self.bias_delta < MIN_BIAS_DELTA:
            raise ValueError(f'bias_delta={self.bias_delta!r} must be a number >= {MIN_BIAS_DELTA}. {WHERE}')
        for name in ('separate_bias_magnitude', 'learn_magnitude', 'normalize', 'sync'):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f'{name}={getattr(self, name)!r} must be True or False. {WHERE}')

    @classmethod
    def names(cls) -> tuple:
        """The names of the options."""
        return tuple(f.name for f in fields(cls))

    @classmethod
    def from_dict(cls, options: dict[str, Any], also_known: tuple = ()) -> 'NBNOptions':
        """Build from a config dict.

        Args:
            options (dict): Option names and values.
            also_known (tuple[str]): Further names that the caller accepts, for the message.

        Raises:
            ValueError: If a name is unknown.
        """
        unknown = sorted(set(options) - set(cls.names()))
        if unknown:
            raise ValueError(f'Unknown NBN option {", ".join(map(repr, unknown))}; the options are '
                             f'{", ".join(also_known + cls.names())}. {WHERE}')
        return cls(**options)

    @property
    def start(self) -> float:
        """The first value of the magnitude."""
        return 1.0 if self.init_magnitude == PRETRAINED else float(self.init_magnitude)

    @property
    def records_gains(self) -> bool:
        """Whether layers keep a gain per vector."""
        return self.init_magnitude == PRETRAINED and self.normalize

    @property
    def starts_as_loaded(self) -> bool:
        """Whether the network equals a plain BN network right after loading it."""
        return self.init_magnitude == PRETRAINED or (not self.normalize and self.start == 1.0)

    @property
    def smooth_delta(self) -> float | None:
        """δ of the smooth bias, or None."""
        return float(self.bias_delta) if self.zero_bias == 'smooth' else None


def _is_positive(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and value > 0
