"""Checks that data set, model and evaluation go together, before anything is built."""
import os.path as osp
from typing import Any

from mmengine.config import Config

from ...datasets.lvis_format import image_file, read_lvis
from .checks import _parts, _types
from .errors import LaunchError

METRIC = 'StreamingLVISMetric'
MASK_HEAD = 'FastFCNMaskHead'
# Evaluators of mmdet that can't read a `mask_format` of FastFCNMaskHead, which they would tell after the inference.
UNREAD_MASKS = dict(CocoMetric='box', FasterCocoMetric='box', CocoOccludedSeparatedMetric='box', LVISMetric='rle',
                    CityScapesMetric='rle', DumpDetResults='rle')


def check_evaluated_images(cfg: Config, split: str) -> None:
    """Raise an error when the LVIS evaluation reads an annotation file of other images than the data set.

    Without it an unknown image id stops the first evaluation, after an epoch, and two files that number their images
    alike are evaluated against each other. Files are read only if they are not the same one. A part of a data set
    (``indices``) and files that are not local are left to the evaluation.

    Args:
        cfg (Config): The config of the run.
        split (str): ``'val'`` or ``'test'``.

    Raises:
        LaunchError: Naming both fields, their files and the first image that differs.
    """
    metrics = [(f'{field}.ann_file', part.get('ann_file'))
               for field, kind, part in _parts(cfg.get(f'{split}_evaluator'), f'{split}_evaluator') if kind == METRIC]
    if not metrics:
        return
    for field, _, part in _parts((cfg.get(f'{split}_dataloader') or {}).get('dataset'), f'{split}_dataloader.dataset'):
        path = part.get('ann_file')
        if not isinstance(path, str) or not path or part.get('indices') is not None:
            continue
        path = osp.join(part.get('data_root') or '', path)
        for metric_field, metric_path in metrics:
            _compare(f'{field}.ann_file', path, metric_field, metric_path)


def check_mask_format(cfg: Config, split: str) -> None:
    """Raise an error when an evaluator of mmdet can't read the model's ``test_cfg.rcnn.mask_format``.

    A model without ``FastFCNMaskHead`` has no use for that field, and passes.

    Args:
        cfg (Config): The config of the run.
        split (str): ``'val'`` or ``'test'``.

    Raises:
        LaunchError: Naming both fields and the formats that the evaluator reads.
    """
    if MASK_HEAD not in _types(cfg.get('model')):
        return
    kind = _mask_format(cfg.model)
    for field, name, _ in _parts(cfg.get(f'{split}_evaluator'), f'{split}_evaluator'):
        if kind is not None and UNREAD_MASKS.get(name) == kind:
            others = [each for each in ('bitmap', 'box', 'rle') if each != kind]
            raise LaunchError(f'model.test_cfg.rcnn.mask_format={kind!r}, but {field}.type={name!r} does not read '
                              f'that. Set mask_format to one of {others}.')


def check_drawn_masks(cfg: Config, option: str) -> None:
    """Raise an error when predictions are to be drawn whose masks mmdet's visualiser can't read.

    Args:
        cfg (Config): The config of the run.
        option (str): What asks for the pictures.

    Raises:
        LaunchError: Naming the field.
    """
    if MASK_HEAD in _types(cfg.get('model')) and _mask_format(cfg.model) == 'rle':
        raise LaunchError(f"{option}: masks of model.test_cfg.rcnn.mask_format='rle' can't be drawn. Set it to "
                          "'bitmap' or 'box'.")


def _mask_format(model: Any) -> str | None:
    test_cfg = model.get('test_cfg') or {}
    return (test_cfg.get('rcnn') or {}).get('mask_format') if isinstance(test_cfg, dict) else None


def _compare(field: str, path: str, metric_field: str, metric_path: Any) -> None:
    if not isinstance(metric_path, str) or not osp.isfile(path) or not osp.isfile(metric_path) \
            or osp.samefile(path, metric_path):
        return
    try:
        images, evaluated = read_lvis(path)['images'], read_lvis(metric_path)['images']
    except ValueError:  # told when the data set or the metric is built
        return
    names = {image['id']: image_file(image) for image in evaluated}
    for image in images:
        img_id, name = image['id'], image_file(image)
        if img_id not in names:
            difference = f'image id {img_id} of the first is not in the second'
        elif not _same_file(name, names[img_id]):
            difference = f'image id {img_id} is {name!r} in the first and {names[img_id]!r} in the second'
        else:
            continue
        raise LaunchError(f'{field} ({path!r}) and {metric_field} ({metric_path!r}) are of different images: '
                          f'{difference}. Set {metric_field} to the annotation file of the data set.')


def _same_file(first: str | None, second: str | None) -> bool:
    """Whether two names can be one picture: equal, or one of them with folders before it."""
    return not first or not second or first == second or first.endswith(f'/{second}') or second.endswith(f'/{first}')
