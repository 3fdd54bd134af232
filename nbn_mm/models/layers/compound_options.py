"""The options of compound batch normalisation that a layer and its entry point have in common."""
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any

from .nbn_options import NBNOptions

WHERE = ("Change it in compound=dict(...) of the CompoundBNBackbone, or in norm_cfg=dict(type='CompoundBN', ...).")
NBN_OPTIONS = ('init_magnitude', 'learn_magnitude', 'normalize', 'norm_eps', 'zero_bias', 'bias_delta')


@dataclass(frozen=True)
class CompoundOptions:
    """How a :class:`CompoundBN` layer estimates its mixture. The defaults are ours.

    Args:
        num_components (int): Components K.
        group_size (int, optional): Channels that share their responsibilities; None: all of the layer.
        tempering (float): The logarithm of mixing weight times density over D channels is multiplied by D to the power
            of minus this before the responsibilities are taken; 0.5 is 1/√D, 0 is text-book EM. With the default,
            entropies stay within 5 to 95 % of ln K in a ResNet-18 on photographs; with 0.5 a layer reaches 96 %.
        damping (float): A component with less than this part of an equal share of the positions moves its statistics
            proportionally slower; 0: none does.
        spread (float): Standard deviation of the components' first means, in those of the channels.
        seed (int): Seed of these means.
        split_momentum (float): Rate at which the moments of the split path enter the moving statistics.
        nbn (dict, optional): Normalise the affine vectors of each component as NBN does, with one magnitude for all;
            options of NBN, ``{}`` for its defaults. None: free affine vectors.
        sync (bool): Whether batch statistics span all ranks.

    Raises:
        ValueError: If a value is out of its range; the message names the option.
    """
    num_components: int = 3
    group_size: int | None = None
    tempering: float = 0.4
    damping: float = 0.5
    spread: float = 0.5
    seed: int = 0
    split_momentum: float = 0.1
    nbn: dict[str, Any] | None = None
    sync: bool = False
    affine: NBNOptions | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        for name, least in (('num_components', 1), ('group_size', 1), ('seed', 0)):
            value = getattr(self, name)
            if (value is None and name == 'group_size') or (type(value) is int and value >= least):
                continue
            raise ValueError(f'{name}={value!r} must be an integer >= {least}. {WHERE}')
        for name, least, most in (('tempering', 0, 1), ('damping', 0, 1), ('spread', 0, 10), ('split_momentum', 0, 1)):
            value = getattr(self, name)
            if not isinstance(value, Real) or isinstance(value, bool) or not least <= value <= most:
                raise ValueError(f'{name}={value!r} must be a number between {least} and {most}. {WHERE}')
        if self.spread == 0 and self.num_components > 1:
            raise ValueError(f'spread=0 with num_components={self.num_components}: identical components never '
                             f'separate; give a spread > 0. {WHERE}')
        if not isinstance(self.sync, bool):
            raise ValueError(f'sync={self.sync!r} must be True or False. {WHERE}')
        if self.nbn is None:
            return
        if not isinstance(self.nbn, dict) or set(self.nbn) - set(NBN_OPTIONS):
            raise ValueError(f'nbn={self.nbn!r} must be a dict of {", ".join(NBN_OPTIONS)}, or None for free affine '
                             f'vectors. {WHERE}')
        affine = NBNOptions(**self.nbn)
        if affine.init_magnitude == 'pretrained':
            raise ValueError("nbn.init_magnitude='pretrained' records gains, which CompoundBN does not have; give a "
                             f'number > 0. {WHERE}')
        object.__setattr__(self, 'affine', affine)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the options."""
        return tuple(f.name for f in fields(cls) if f.init)

    @classmethod
    def from_dict(cls, options: dict[str, Any], also_known: tuple[str, ...] = ()) -> 'CompoundOptions':
        """Options from a config.

        Args:
            options (dict): Option names and values.
            also_known (tuple[str]): Further names that the caller accepts, for the message.

        Raises:
            ValueError: If a name is unknown or a value is out of its range.
        """
        unknown = sorted(set(options) - set(cls.names()))
        if unknown:
            raise ValueError(f'Unknown CompoundBN option {", ".join(map(repr, unknown))}; the options are '
                             f'{", ".join(also_known + cls.names())}. {WHERE}')
        return cls(**options)
