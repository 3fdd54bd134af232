"""Logits of a whole data set, for ``tools/analysis_tools/save_logits.py``."""
import copy
import os
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from torch import Tensor, nn

from ..evaluation.functional.saved_logits import SavedLogits
from ..evaluation.metrics.class_group_metric import ClassGroupMetric
from .launch.configure import configure_test, load_config
from .launch.device_data import is_device_loader, read_each_image
from .launch.errors import LaunchError
from .linear_classifier import effective_linear

SPLITS = ('train', 'val', 'test')
MIXING = ('CMODataset', )
RESAMPLING = ('RepeatDataset', 'ClassBalancedDataset')


class _LogitsMetric(ClassGroupMetric):
    """Keeps logits and labels in the order of the data set.

    Args:
        model (nn.Module): The classifier. Its ``predict`` is replaced on this object by one that asks the head for its
            logits, too.
        with_features (bool): Whether to keep what the classifier gets.
    """

    def __init__(self, model: nn.Module, with_features: bool) -> None:
        super().__init__(prefix='logits')
        self.model = model
        self.with_features = with_features
        self.logits: list[np.ndarray] = []
        self.features: list[np.ndarray] = []
        self._last: Tensor | None = None
        self.labels: np.ndarray | None = None
        model.predict = self._predict

    def _predict(self, inputs: Tensor, data_samples: Any = None, **kwargs: Any) -> Any:
        head, feats = self.model.head, self.model.extract_feat(inputs)
        logits = head(feats)
        if not isinstance(logits, Tensor) or logits.dim() != 2:
            raise LaunchError(f'{type(head).__name__} of model.head gives {type(logits).__name__}, and no logits '
                              '(N, C) that could be saved.')
        self._last = logits.detach().float()
        self.logits.append(self._last.cpu().numpy())
        if self.with_features:
            features = head.pre_logits(feats)  # of several experts a tuple
            features = features if isinstance(features, Tensor) else torch.cat(features, dim=1)
            self.features.append(features.detach().float().cpu().numpy())
        return head.predict(feats, data_samples, **kwargs)

    def reduce(self, scores: Tensor, labels: Tensor, ranks: Tensor) -> list[tuple]:
        """The label of each image, if the predictions are the softmax of the logits."""
        if self._last is None or not torch.allclose(self._last.softmax(1).to(scores), scores, rtol=1e-3, atol=1e-5):
            raise LaunchError('the predictions are not the softmax of what model.head gives; its logits cannot be '
                              'saved.')
        self._last = None
        return [(label, ) for label in labels.tolist()]

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Take the labels."""
        self.labels = np.array(results, dtype=np.int64).reshape(-1)
        return dict(images=len(results))


def split_loader(cfg: Config, split: str) -> ConfigDict:
    """The data loader of a test on another split: its data set with the *test* pipeline, each image once, in order.

    Args:
        cfg (Config): With ``test_dataloader`` and that of the split.
        split (str): ``'train'``, ``'val'`` or ``'test'``.

    Returns:
        ConfigDict: A new config of a data loader.

    Raises:
        LaunchError: If the split is unknown or the config lacks a data loader.
    """
    if split not in SPLITS:
        raise LaunchError(f'split={split!r} must be one of {SPLITS}.')
    for name in ('test', split):
        if (cfg.get(f'{name}_dataloader') or {}).get('dataset') is None:
            raise LaunchError(f'the logits of the {split} set need `{name}_dataloader` in the config.')
    loader = copy.deepcopy(cfg.test_dataloader)
    for key in ('batch_sampler', 'drop_last'):
        loader.pop(key, None)
    loader.sampler = ConfigDict(type='DefaultSampler', shuffle=False)
    if split == 'test':
        return loader
    source = copy.deepcopy(cfg[f'{split}_dataloader'])
    while source.dataset.type in (*RESAMPLING, *MIXING):  # which repeat or mix images
        source.dataset = source.dataset.dataset
    source.dataset.pop('cmo', None)  # of DeviceDataset
    if is_device_loader(source) != is_device_loader(loader):
        for part in (source, loader):
            read_each_image(part, f'split {split!r}')
    _replace_pipelines(source.dataset, loader.dataset, f'{split}_dataloader.dataset')
    loader.dataset = source.dataset
    return loader


def _replace_pipelines(dataset: ConfigDict, test: ConfigDict, field: str) -> None:
    """Give a data set, and those in it, the pipelines of the test set."""
    if 'datasets' in dataset:
        for index, part in enumerate(dataset.datasets):
            _replace_pipelines(part, test, f'{field}.datasets[{index}]')
        return
    if dataset.type in RESAMPLING:
        raise LaunchError(f'{field} is a {dataset.type} within another data set and would give images several times.')
    own = [key for key in ('pipeline', 'dataset') if key in dataset]
    if not own:
        raise LaunchError(f'{field}, a {dataset.type}, has no pipeline that could be replaced by that of the test set.')
    if 'dataset' in dataset:
        if 'dataset' not in test:
            raise LaunchError(f'{field} is wrapped in {dataset.type}, test_dataloader.dataset is not: which pipeline '
                              'belongs to the test cannot be told.')
        if 'pipeline' in dataset.dataset or 'dataset' in dataset.dataset:
            _replace_pipelines(dataset.dataset, test.dataset, f'{field}.dataset')
    if 'pipeline' in dataset:
        dataset.pipeline = copy.deepcopy(test.get('pipeline', []))


def save_logits(config: str, checkpoint: str, split: str = 'test', features: bool = False,
                work_dir: str | None = None, cfg_options: dict | None = None) -> SavedLogits:
    """Run a test over a split and keep the logits before the softmax.

    The run is that of ``tools/test.py``: data loader, preprocessor, hooks and checkpoint are the config's. The training
    set goes through the *test* pipeline, without augmentation, and each image is seen once. In one process.

    Args:
        config (str): Path of the config of a classifier.
        checkpoint (str): Path of its checkpoint.
        split (str): ``'train'``, ``'val'`` or ``'test'``. Defaults to ``'test'``.
        features (bool): Whether to keep what the classifier gets, too. Defaults to False.
        work_dir (str, optional): Folder of the log; default: that of the config.
        cfg_options (dict, optional): Settings of the config to change.

    Returns:
        SavedLogits: With class counts and, where the classifier is linear, its weight and bias at test.

    Raises:
        LaunchError: If the config, the checkpoint or the split can't be used, or the model is no classifier whose
            predictions are the softmax of its head's output.
    """
    os.environ.setdefault('LOCAL_RANK', '0')
    options = {name: value for name, value in dict(work_dir=work_dir, cfg_options=cfg_options).items()
               if value is not None}
    cfg = load_config('test', config, options)
    if cfg.get('default_scope') != 'mmpretrain':
        raise LaunchError(f"default_scope={cfg.get('default_scope')!r} of {config}: logits are saved for classifiers "
                          'of mmpretrain.')
    cfg.test_dataloader = split_loader(cfg, split)
    cfg.test_evaluator = ConfigDict(type='BatchEvaluator', metrics=[dict(type='ShotGroupMetric', topk=(1, ))])
    cfg.default_hooks = cfg.get('default_hooks') or ConfigDict()
    cfg.default_hooks.setdefault('class_counts', ConfigDict(type='ClassCountsHook'))
    cfg.test_cfg = cfg.get('test_cfg') or ConfigDict()
    configure_test(cfg, checkpoint, options)
    runner = Runner.from_cfg(cfg)
    head = getattr(runner.model, 'head', None)
    if head is None:
        raise LaunchError(f'model.type={cfg.model.type!r} of {config} has no head whose logits could be saved.')
    metric = _LogitsMetric(runner.model, features)
    metric.dataset_meta = runner.test_dataloader.dataset.metainfo
    runner.test_evaluator.metrics.append(metric)
    runner.test()
    linear = None
    if isinstance(getattr(head, 'fc', None), nn.Module) and isinstance(getattr(head, 'in_channels', None), int):
        linear = effective_linear(head.fc, head.in_channels)
    weight, bias = (None, None) if linear is None else (part.float().numpy() for part in linear)
    return SavedLogits(
        np.concatenate(metric.logits), metric.labels, np.array(metric.class_names),
        np.array(metric.counts.images, dtype=np.int64), split, weight, bias,
        np.concatenate(metric.features) if features else None)
