"""The owner of the magnitude that NBN layers share."""
from collections.abc import Iterable

from torch import Tensor, nn

from ..layers.magnitude import LoadedLayer, MagnitudeHolder, register_magnitude
from ..layers.nbn_options import NBNOptions

_KEYS = ('magnitude', 'magnitudes', 'bias_magnitude', 'bias_magnitudes')


class NBNOwner(MagnitudeHolder):
    """Holds the magnitudes of a backbone's NBN layers, as its child ``nbn``.

    It belongs to the entry point and to no stage, so that freezing stages leaves it learnable. It is no batch norm:
    under ``norm_eval`` it keeps the mode of the network, by which it tells training from evaluation.

    It knows its ``layers``, whose vectors are computed together, without having them as children.

    State-dict keys: ``magnitude`` for ``share='all'``, else ``magnitudes.{group}``; with ``separate_bias_magnitude``
    also ``bias_magnitude`` or ``bias_magnitudes.{group}``.

    Args:
        options (NBNOptions): The options of the layers.
        groups (Iterable[str]): Names of the groups; the single group ``''`` is ``share='all'``.
        like (Tensor, optional): Gives device and dtype.
    """

    def __init__(self, options: NBNOptions, groups: Iterable[str] = ('', ), like: Tensor | None = None) -> None:
        super().__init__()
        self.options = options
        self.groups = tuple(dict.fromkeys(groups))
        self.magnitude_missing = False
        self._loaded: dict[nn.Module, LoadedLayer] = {}
        self.layers: list[nn.Module] = []  # in a list they are no children
        for name in ('magnitude', 'bias_magnitude') if options.separate_bias_magnitude else ('magnitude', ):
            if self.groups == ('', ):
                register_magnitude(self, name, options, like)
                continue
            container = nn.Module()
            for group in self.groups:
                register_magnitude(container, group, options, like)
            self.add_module(f'{name}s', container)

    def get_magnitude(self, group: str = '', name: str = 'weight') -> Tensor:
        """The magnitude g of a group's ``'weight'`` or ``'bias'`` vectors, shape ``()``."""
        kind = 'bias_magnitude' if name == 'bias' and self.options.separate_bias_magnitude else 'magnitude'
        return getattr(self, kind) if group == '' else getattr(getattr(self, f'{kind}s'), group)

    def magnitudes_by_key(self) -> dict[str, Tensor]:
        """State-dict key below this module → magnitude, shape ``()``."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def is_training_forward(self) -> bool:
        """The mode of the network."""
        return self.training

    def note_loaded_layer(self, loaded: LoadedLayer) -> None:
        """Remember, until this module is loaded itself, a layer that a checkpoint gave its vectors to."""
        self._loaded[loaded.layer] = loaded

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                              error_msgs) -> None:
        # The owner is the last child of its backbone, so the layers have been loaded by now.
        layers, self._loaded = list(self._loaded.values()), {}
        own = self.magnitudes_by_key()
        held = [key[len(prefix):] for key in state_dict if key.startswith(prefix)]
        foreign = [key for key in held if key not in own and key.split('.')[0] in _KEYS]
        if foreign:
            raise ValueError(f'The checkpoint holds {prefix}{foreign[0]}, this network has {", ".join(own)}: it was '
                             'trained with another sharing. Set nbn.share, nbn.separate_bias_magnitude and the '
                             'placement (nbn.placement or nbn.pattern) of the backbone as in its training.')
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                                      error_msgs)
        self.finish_loading(state_dict, prefix, layers)

    def extra_repr(self) -> str:
        """Groups and start."""
        return f'groups={self.groups!r}, start={self.options.start}, learn_magnitude={self.options.learn_magnitude}'
