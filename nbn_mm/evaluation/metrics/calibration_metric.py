"""Expected calibration error in shot groups."""

import torch
from mmengine.registry import METRICS

from ..functional.calibration import check_num_bins, shot_group_calibration_error
from .class_group_metric import ClassGroupMetric


@METRICS.register_module()
class CalibrationMetric(ClassGroupMetric):
    """Expected calibration error (Guo et al., ICML 2017, arXiv:1706.04599), overall and in each shot group.

    The metrics are ``calibration/ece`` and ``calibration/ece_{many,medium,few}``, in percent like the accuracies. The
    group of an image is that of its true class; a group without classes or test images is absent.

    Args:
        num_bins (int): Number of equally wide bins of confidence. Defaults to 15.
        **kwargs: ``few``, ``many``, ``class_counts``, ``collect_device``, ``prefix``, ``collect_dir``; see
            ``ClassGroupMetric``.

    Raises:
        TypeError, ValueError, FileNotFoundError: If an option is unusable.
    """
    default_prefix: str | None = 'calibration'

    def __init__(self, num_bins: int = 15, **kwargs) -> None:
        super().__init__(**kwargs)
        self.num_bins = check_num_bins(num_bins)

    def reduce(self, scores: torch.Tensor, labels: torch.Tensor, ranks: torch.Tensor) -> list[tuple]:
        """Label, whether the prediction is right, and its confidence, of each image.

        Raises:
            ValueError: If the scores are logits.
        """
        confidence = scores.float().amax(dim=1)
        if ((confidence < -1e-4) | (confidence > 1 + 1e-4)).any():
            raise ValueError('CalibrationMetric needs probabilities in `pred_score`, but the largest score of an image '
                             f'is {float(confidence.max()):.4g}. Remove the metric or let the head predict softmax '
                             'scores.')
        return list(zip(labels.tolist(), (ranks == 0).tolist(), confidence.tolist(), strict=True))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """ECE in percent.

        Args:
            results (list[tuple]): Label, hit and confidence of each test image.

        Returns:
            dict[str, float]: ``'ece'``, ``'ece_many'``, ….

        Raises:
            ValueError: If there is no test image.
        """
        labels, correct, confidence = zip(*results, strict=True) if results else ((), (), ())
        errors = shot_group_calibration_error(
            torch.tensor(confidence, dtype=torch.float32), torch.tensor(correct, dtype=torch.bool),
            torch.tensor(labels, dtype=torch.int64), self.counts.images, self.num_bins, self.few, self.many)
        return {'ece' if name == 'all' else f'ece_{name}': value for name, value in errors.items()}
