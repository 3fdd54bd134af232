"""What the holder of a magnitude does, be it one NBN layer or the owner that many layers share."""
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .nbn_options import NBNOptions

_MISSING = ('The loaded checkpoint holds no NBN magnitude ({names}), so this network would be evaluated with the '
            'initial magnitude {start} instead of a trained one. Load a checkpoint trained with NBN; or train first; '
            "or begin with the loaded BN network exactly by nbn=dict(init_magnitude='pretrained'); or, if it is meant, "
            'call accept_missing_magnitude() of `{holder}`.')
_NO_GAINS = ("{layer}: the checkpoint holds an NBN magnitude but no '{layer}.weight_gain', so it was trained "
             'with a scalar init_magnitude. Set nbn.init_magnitude to that number (1.0 by default) in place of '
             "'pretrained'.")


class LoadedLayer(NamedTuple):
    """An NBN layer that a checkpoint gave its vectors to."""
    name: str
    layer: nn.Module
    has_gains: bool


class MagnitudeHolder(nn.Module):
    """Base of modules that hold magnitudes: what follows from a checkpoint without them.

    A subclass has the attributes ``options`` (:class:`NBNOptions`) and ``magnitude_missing`` (bool, False at first),
    and lists its magnitudes. ``loaded_plain`` tells whether the last checkpoint was one without magnitude, so that the
    directions are the vectors of a plain BN network until they are trained.
    """
    options: NBNOptions
    magnitude_missing: bool
    loaded_plain: bool = False
    magnitude_missing_at: str = ''

    def magnitudes_by_key(self) -> dict[str, Tensor]:
        """State-dict key below this module → magnitude, shape ``()``."""
        raise NotImplementedError

    def is_training_forward(self) -> bool:
        """Whether a forward that runs now belongs to training."""
        raise NotImplementedError

    def check_missing_magnitude(self) -> None:
        """What a forward does after a load without magnitude: training forgets it, evaluation refuses.

        Raises:
            RuntimeError: If this is an evaluation.
        """
        if not self.magnitude_missing:
            return
        if not self.is_training_forward():
            raise RuntimeError(_MISSING.format(names=', '.join(self.magnitudes_by_key()), start=self.options.start,
                                               holder=self.magnitude_missing_at))
        self.magnitude_missing = False

    def accept_missing_magnitude(self) -> None:
        """Take the initial magnitude for the right one and allow evaluation."""
        self.magnitude_missing = False

    def finish_loading(self, state_dict: dict[str, Tensor], prefix: str, layers: list[LoadedLayer]) -> None:
        """Settle magnitudes and biases once a checkpoint has been copied.

        A magnitude that the checkpoint lacks although it holds the layers' vectors starts as the config says.

        Args:
            state_dict (dict): The checkpoint, as seen below ``prefix``.
            prefix (str): Prefix of this module's keys.
            layers (list[LoadedLayer]): The layers of this holder that got their vectors from it.

        Raises:
            ValueError: If it has magnitudes but not the gains that this network needs.
        """
        if not layers:  # a checkpoint of another part of the model
            return
        magnitudes = self.magnitudes_by_key()
        missing = [key for key in magnitudes if prefix + key not in state_dict]
        self.loaded_plain = bool(missing)
        if not missing:
            for name, layer, has_gains in layers:
                if layer.options.records_gains and not has_gains:
                    raise ValueError(_NO_GAINS.format(layer=name))
            self.magnitude_missing = False
            return
        with torch.no_grad():
            for key in missing:
                magnitudes[key].fill_(self.options.start)
        for name, layer, _ in layers:
            layer.start_zero_bias(name)
        self.magnitude_missing = not self.options.starts_as_loaded
        self.magnitude_missing_at = prefix.rstrip('.') or type(self).__name__


def register_magnitude(module: nn.Module, name: str, options: NBNOptions, like: Tensor | None = None) -> None:
    """Register a magnitude of shape ``()``: a parameter, or a buffer of the same key when it is fixed.

    A buffer stays fixed whatever sets ``requires_grad`` of a module's parameters afterwards, as ``build_norm_layer``
    does.

    Args:
        module (nn.Module): The holder.
        name (str): Its attribute.
        options (NBNOptions): Start and whether it learns.
        like (Tensor, optional): Gives device and dtype.
    """
    value = torch.full((), options.start, device=None if like is None else like.device,
                       dtype=None if like is None else like.dtype)
    if options.learn_magnitude:
        module.register_parameter(name, nn.Parameter(value))
    else:
        module.register_buffer(name, value)
