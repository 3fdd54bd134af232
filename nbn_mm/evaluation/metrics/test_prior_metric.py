"""Top-k accuracy under several class distributions of the test set."""
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.registry import METRICS

from ..functional.shot_accuracy import check_topk, class_hits, true_class_rank
from ..functional.test_priors import PRIORS, SOURCES, adapt_scores, check_prior_name, named_prior, prior_accuracy
from .class_group_metric import ClassGroupMetric


@METRICS.register_module()
class TestPriorMetric(ClassGroupMetric):
    """Accuracy on test sets that follow the training set's long tail, its reverse, or neither, in percent.

    All in one pass over a balanced test set: ``prior/{forward50,uniform,backward50,…}_top{k}``. With ``adapt_from``
    also ``prior/{…}_adapted_top{k}``, where the scores are corrected for the shares of that test set, which are then
    taken as known (the post-compensated softmax of Hong et al., LADE, CVPR 2021, arXiv:2012.00321).

    Args:
        priors (Sequence[str]): ``'uniform'``, ``'forward{factor}'``, ``'backward{factor}'``. Defaults to LADE's:
            factors 50, 25, 10, 5, 2 either way, and uniform.
        topk (int | Sequence[int]): Defaults to 1.
        adapt_from (str, optional): The shares that the network's scores assume: ``'train'`` after plain cross entropy,
            ``'uniform'`` after Balanced Softmax, logit adjustment and the like. None: no adapted accuracy. Defaults to
            None.
        **kwargs: ``class_counts``, ``collect_device``, ``prefix``, ``collect_dir``; see ``ClassGroupMetric``.

    Raises:
        ValueError, TypeError: If an option is unusable.

    Example:
        >>> test_evaluator = dict(type='TestPriorMetric', priors=('uniform', 'forward50', 'backward50'))
        >>> default_hooks = dict(class_counts=dict(type='ClassCountsHook'))
    """
    __test__ = False  # pytest takes the name for a test
    default_prefix: str | None = 'prior'

    def __init__(self, priors: Sequence[str] = PRIORS, topk: int | Sequence[int] = 1, adapt_from: str | None = None,
                 **kwargs) -> None:
        super().__init__(**kwargs)
        self.priors = (priors, ) if isinstance(priors, str) else tuple(priors)
        if not self.priors or len(set(self.priors)) != len(self.priors):
            raise ValueError(f'priors={priors!r} of TestPriorMetric must name at least one test prior, each once.')
        for name in self.priors:
            check_prior_name(name)
        self.topk = check_topk(topk)
        if adapt_from not in (None, *SOURCES):
            raise ValueError(f'adapt_from={adapt_from!r} of TestPriorMetric must be None or one of {SOURCES}.')
        self.adapt_from = adapt_from

    def _check_num_classes(self, num_classes: int) -> None:
        check_topk(self.topk, num_classes)
        if self.adapt_from == 'train' and self.counts.zero_classes:
            names = ', '.join(self.counts.classes[index] for index in self.counts.zero_classes[:5])
            raise ValueError(f"adapt_from='train' of TestPriorMetric: no training images of {names}, whose prior "
                             'cannot be taken out of the scores. Set adapt_from=None.')

    def reduce(self, scores: torch.Tensor, labels: torch.Tensor, ranks: torch.Tensor) -> list[tuple]:
        """Label and rank of each image, and its rank after each adaptation."""
        columns = [labels, ranks]
        if self.adapt_from is not None:
            counts = self.counts.images
            source = np.asarray(counts, dtype=np.float64) / sum(counts) if self.adapt_from == 'train' else \
                named_prior('uniform', counts)
            for name in self.priors:
                columns.append(true_class_rank(adapt_scores(scores, source, named_prior(name, counts)), labels))
        return [tuple(row) for row in torch.stack(columns, dim=1).tolist()]

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Accuracies under each prior.

        Args:
            results (list[tuple]): Label and ranks of each test image.

        Returns:
            dict[str, float]: ``'uniform_top1'``, ``'forward50_adapted_top1'``, … in percent.

        Raises:
            ValueError: If there is no test image.
        """
        adapted = self.priors if self.adapt_from is not None else ()
        table = torch.tensor(results, dtype=torch.int64).reshape(-1, 2 + len(adapted))
        counts, metrics = self.counts, {}
        for k in self.topk:
            for index, name in enumerate(self.priors):
                prior = named_prior(name, counts.images)
                metrics[f'{name}_top{k}'] = prior_accuracy(
                    *class_hits(table[:, 1], table[:, 0], counts.num_classes, k), prior)
                if adapted:
                    metrics[f'{name}_adapted_top{k}'] = prior_accuracy(
                        *class_hits(table[:, 2 + index], table[:, 0], counts.num_classes, k), prior)
        return metrics
