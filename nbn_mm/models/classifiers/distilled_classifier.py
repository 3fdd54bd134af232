"""A classifier that also learns from the logits of a trained one."""
from typing import Any

import torch
from mmengine.config import Config
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...engine.checkpoint_file import build_model, read_checkpoint


class FrozenTeacher:
    """A trained classifier, loaded when it is first asked: no module, so that the student's state dict, optimiser and
    copies do not hold it.

    Args:
        config (str): Its config file.
        checkpoint (str): Its checkpoint.
    """

    def __init__(self, config: str, checkpoint: str) -> None:
        self.config = config
        self.checkpoint = checkpoint
        self.model: nn.Module | None = None

    def __deepcopy__(self, memo: dict) -> 'FrozenTeacher':
        """Copies of the student share the teacher."""
        return self

    def load(self) -> nn.Module:
        """Build and load the network.

        Raises:
            FileNotFoundError: If there is no such config or checkpoint.
            ValueError: If the checkpoint does not fit the config.
        """
        try:
            state = read_checkpoint(self.checkpoint)['state_dict']
            model = build_model(Config.fromfile(self.config))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'model.teacher: {error} Train the teacher first, `python tools/train.py {self.config}`, or set '
                'model.teacher.checkpoint (and model.teacher.config).') from error
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f'model.teacher.checkpoint={self.checkpoint!r} does not fit model.teacher.config='
                             f'{self.config!r}: {error}') from error
        self.model = model.eval().requires_grad_(False)
        return self.model

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> Tensor:
        """Its logits ``(N, C)`` of preprocessed images ``(N, 3, H, W)``."""
        model = self.load() if self.model is None else self.model
        return model.to(inputs.device)(inputs, mode='tensor')


@MODELS.register_module()
class DistilledClassifier(ImageClassifier):
    """mmpretrain's classifier with a frozen teacher in training.

    .. code-block:: python

        model=dict(type='DistilledClassifier',
                   teacher=dict(config='configs/imagenet_lt/resnext50_bn_ride6_imagenet_lt.py',
                                checkpoint='work_dirs/resnext50_bn_ride6_imagenet_lt/epoch_100.pth'),
                   head=dict(distillation=dict(type='DistillationLoss', temperature=1.5)))

    The teacher sees the student's batch, which both normalise alike, and plays no part at test: its files are then not
    needed, and the trained network is that of an ``ImageClassifier``.

    Args:
        *args: As of the host's classifier.
        teacher (dict): ``config`` and ``checkpoint`` of the teacher.
        **kwargs: As of the host's classifier.

    Raises:
        ValueError: If ``teacher`` lacks a key, the head takes no teacher, or both normalise images differently.
        FileNotFoundError: In the first step, if a file of the teacher is missing; ``tools/train.py`` looks before.
    """

    def __init__(self, *args: Any, teacher: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(teacher, dict) or set(teacher) != {'config', 'checkpoint'}:
            raise ValueError(f'model.teacher={teacher!r} must be dict(config=..., checkpoint=...): the config file and '
                             'the checkpoint of the teacher.')
        if getattr(self.head, 'distillation', None) is None:
            raise ValueError("model.teacher needs a head that learns from it: head=dict(type='MultiExpertClsHead', "
                             "distillation=dict(type='DistillationLoss', temperature=1.5)).")
        self.teacher = FrozenTeacher(**teacher)

    def loss(self, inputs: Tensor, data_samples: Any) -> dict[str, Tensor]:
        """The head's losses, with that of the distillation; arguments as of the host's classifier."""
        if self.teacher.model is None:
            self._check_preprocessing(self.teacher.load())
        return self.head.loss(self.extract_feat(inputs), data_samples, teacher_logits=self.teacher(inputs))

    def _check_preprocessing(self, teacher: nn.Module) -> None:
        for name in ('mean', 'std', 'to_rgb'):
            own, other = (getattr(model.data_preprocessor, name, None) for model in (self, teacher))
            equal = torch.allclose(own.cpu(), other.cpu()) if torch.is_tensor(own) and torch.is_tensor(other) else (
                own is other)
            if not equal:
                raise ValueError(f'model.data_preprocessor.{name} of the student and of the teacher '
                                 f'({self.teacher.config}) differ, but they see the same batch. Give both the same.')
