"""A multi-expert head that asks one expert after the other, as long as the next one is expected to help."""
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from ...datasets.label_batch import LabelBatch
from ..layers.expert_router import ExpertRouter, routing_targets
from .multi_expert_cls_head import MultiExpertClsHead


@MODELS.register_module()
class RoutedExpertClsHead(MultiExpertClsHead):
    """The second stage of RIDE: experts that stay as they are, and a router that learns when to stop.

    .. code-block:: python

        model=dict(type='RoutedClassifier', head=dict(type='RoutedExpertClsHead', routing=dict(top_choices=50)))
        load_from = 'work_dirs/.../epoch_100.pth'  # of the same network with a MultiExpertClsHead

    Only ``router.*`` gets a gradient; ``StageHook`` freezes the rest. The loss is the binary cross entropy of "one more
    expert helps" after each expert but the last, the mean over these. At test the mean over the experts that were asked
    is the prediction; predictions hold ``expert_label`` (-1 where one was not asked) and ``experts_used``.

    Args:
        *args: As of :class:`MultiExpertClsHead`.
        routing (dict, optional): ``top_choices`` (5: highest logits that the router looks at), ``hidden_features``
            (16), ``pos_weight`` (20: weight of "it helps"; a higher one asks more experts), ``threshold`` (0.5: how
            probable it must be).
        **kwargs: As of :class:`MultiExpertClsHead`; ``loss`` is that of the first stage and not used.

    Raises:
        ValueError: If an option is out of its range, or the labels are soft.
        TypeError: If an option is unknown.
    """

    def __init__(self, *args: Any, routing: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        options = dict(top_choices=5, hidden_features=16, pos_weight=20.0, threshold=0.5)
        if set(routing or {}) - set(options):
            raise TypeError(f'head.routing={routing!r} must be a dict with keys among {sorted(options)}.')
        options.update(routing or {})
        if not options['pos_weight'] > 0 or not 0 < options['threshold'] < 1:
            raise ValueError(f'head.routing={routing!r}: pos_weight must be above 0 and threshold between 0 and 1.')
        if options['top_choices'] > self.num_classes:
            raise ValueError(f"head.routing.top_choices={options['top_choices']} must be at most the number of "
                             f'classes, {self.num_classes}.')
        if self.distillation is not None:
            raise ValueError('head.distillation has no meaning for RoutedExpertClsHead: its experts stay as they are.')
        self.pos_weight = options.pop('pos_weight')
        self.threshold = options.pop('threshold')
        self.router = ExpertRouter(self.in_channels, self.num_experts, **options)

    def train(self, mode: bool = True) -> 'RoutedExpertClsHead':
        """Set the mode; the experts' classifiers (and their logit rectification) stay in evaluation mode."""
        super().train(mode)
        self.experts.eval()
        return self

    def loss(self, feats: tuple[Tensor, ...], data_samples: Sequence[DataSample] | LabelBatch,
             **kwargs: Any) -> dict[str, Tensor]:
        """The router's loss; arguments as in the host's heads."""
        if isinstance(data_samples, LabelBatch):
            data_samples = data_samples.targets()
        if 'gt_score' in data_samples[0]:
            raise ValueError('RoutedExpertClsHead needs one label an image: the soft labels of `train_cfg.augments` '
                             '(mixup, CutMix) say of no image whether it is recognised. Remove them.')
        labels = torch.cat([sample.gt_label for sample in data_samples])
        feats = tuple(feat.detach() for feat in feats)
        with torch.no_grad():
            logits = self.expert_logits(feats)
            targets = routing_targets(logits, labels)
            means = logits.cumsum(1) / torch.arange(1, self.num_experts + 1, device=logits.device)[:, None]
        decisions = torch.stack([self.router(feat, mean, k) for k, (feat, mean) in
                                 enumerate(zip(feats[:-1], means.unbind(1)[:-1], strict=True))], dim=1)
        loss = F.binary_cross_entropy_with_logits(decisions, targets.to(decisions.dtype),
                                                  pos_weight=decisions.new_tensor(self.pos_weight))
        return dict(loss=loss)

    def route(self, features: Callable[[int, Tensor], Tensor], number: int,
              device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Ask experts as long as it is expected to help.

        Args:
            features (Callable): (number of an expert, indices of images ``(M, )``) → its features of these, ``(M, D)``.
            number (int): Images N.
            device (torch.device): Device of the images.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Mean logits ``(N, C)``, class of each expert ``(N, E)`` (-1: not asked), and
            number of experts asked ``(N, )``.
        """
        rows = torch.arange(number, device=device)
        used = torch.zeros(number, dtype=torch.long, device=device)
        labels = torch.full((number, self.num_experts), -1, dtype=torch.long, device=device)
        total: Tensor | None = None
        for k, expert in enumerate(self.experts):
            feats = features(k, rows)
            logits = expert['fc'](feats)
            total = logits if total is None else total.index_add(0, rows, logits)
            labels[rows, k] = logits.argmax(1)
            used[rows] += 1
            if k + 1 < self.num_experts:
                decision = self.router(feats, total[rows] / (k + 1), k)
                rows = rows[decision.sigmoid() > self.threshold]
                if not len(rows):
                    break
        return total / used[:, None], labels, used

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Mean logits ``(N, C)`` of the experts that are asked, from the features of all of them."""
        feats = self.pre_logits(feats)
        return self.route(lambda k, rows: feats[k][rows], len(feats[0]), feats[0].device)[0]

    def predict(self, feats: tuple[Tensor, ...] | Callable[[int, Tensor], Tensor],
                data_samples: Sequence[DataSample | None] | LabelBatch | None = None, number: int | None = None,
                device: torch.device | None = None) -> Sequence[DataSample]:
        """Predictions of the experts that are asked.

        Args:
            feats (tuple[Tensor] | Callable): Features of all experts, or what gives them as :meth:`route` takes it.
            data_samples (Sequence, optional): As in the host's heads.
            number (int, optional): Images, for a callable.
            device (torch.device, optional): Their device, for a callable.

        Returns:
            Sequence[DataSample]: Predictions.
        """
        if not callable(feats):
            given = self.pre_logits(feats)
            feats, number, device = (lambda k, rows: given[k][rows]), len(given[0]), given[0].device
        cls_score, labels, used = self.route(feats, number, device)
        return self.to_predictions(cls_score, data_samples, expert_label=labels, experts_used=used)
