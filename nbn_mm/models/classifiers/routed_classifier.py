"""A classifier that computes no more experts than its router asks for."""
from typing import Any

from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class RoutedClassifier(ImageClassifier):
    """``MultiExpertBackbone`` and ``RoutedExpertClsHead`` with early exit: at test an expert's stages see only the
    images that still need it.

    In training the backbone stays in evaluation mode, so that its statistics are those of the first stage.

    Args:
        *args: As of the host's classifier.
        **kwargs: As of the host's classifier.

    Raises:
        ValueError: If the backbone or the head is another one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not hasattr(self.backbone, 'forward_expert') or not hasattr(self.head, 'route'):
            raise ValueError("RoutedClassifier needs backbone=dict(type='MultiExpertBackbone') and "
                             f"head=dict(type='RoutedExpertClsHead'), got {type(self.backbone).__name__} and "
                             f'{type(self.head).__name__}.')

    def train(self, mode: bool = True) -> 'RoutedClassifier':
        """Set the mode of all but the backbone, which stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def predict(self, inputs: Tensor, data_samples: Any = None, **kwargs: Any) -> Any:
        """Predictions; arguments as of the host's classifier."""
        shared = self.backbone.forward_shared(inputs)

        def features(expert: int, rows: Tensor) -> Tensor:
            maps = (self.backbone.forward_expert(shared[rows], expert), )
            return (self.neck(maps) if self.with_neck else maps)[0]

        return self.head.predict(features, data_samples, number=len(inputs), device=inputs.device, **kwargs)
