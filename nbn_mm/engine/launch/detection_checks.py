"""Checks of a detector's config, before anything is built."""
import inspect
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS

from .checks import _parts
from .errors import LaunchError

RECTIFIED = 'RectifiedPredictor'


def check_box_heads(cfg: Config, dataloaders: Iterable[str]) -> None:
    """Raise an error when the RoI heads, their losses and the data sets disagree in what the classifier's outputs are.

    Compared are the fields of the config, defaults of the registered classes included: ``num_classes`` of box heads,
    mask heads and classification losses, ``metainfo.classes`` of data sets, and how many outputs logit rectification
    leaves alone. Annotation files are not read here.

    Args:
        cfg (Config): The config of the run.
        dataloaders (Iterable[str]): The dataloaders in use.

    Raises:
        LaunchError: Naming each field and its value.
    """
    heads = list(_heads(cfg.get('model')))
    if not heads:
        return
    with MODELS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        found = [entry for field, head in heads for entry in _head_classes(registry, field, head)]
        for name in dataloaders:
            for field, _, part in _parts((cfg.get(name) or {}).get('dataset'), f'{name}.dataset'):
                classes = (part.get('metainfo') or {}).get('classes')
                if isinstance(classes, (list, tuple)):
                    found.append((f'{field}.metainfo.classes: {len(classes)} names', len(classes)))
        if len({number for _, number in found}) > 1:
            raise LaunchError('The numbers of classes differ: ' + ', '.join(text for text, _ in found)
                              + '. Set them to the number of classes of the data set.')
        for field, head in heads:
            _check_unrectified(registry, field, head)


def _heads(model: Any) -> Iterator[tuple[str, dict]]:
    """Field and config of each box head and mask head of a RoI head, cascade stages included."""
    for field, _, part in _parts(model, 'model'):
        if not field.endswith('roi_head'):
            continue
        for name in ('bbox_head', 'mask_head'):
            head = part.get(name)
            stages = [('', head)] if isinstance(head, dict) else [(f'[{i}]', h) for i, h in enumerate(head or [])]
            yield from ((f'{field}.{name}{index}', stage) for index, stage in stages if isinstance(stage, dict))


def _head_classes(registry: Any, field: str, head: dict) -> Iterator[tuple[str, int]]:
    # The number of a class-agnostic mask head shapes nothing.
    parts = [] if head.get('class_agnostic') else [(field, head)]
    if isinstance(head.get('loss_cls'), dict):
        parts.append((f'{field}.loss_cls', head['loss_cls']))
    for name, part in parts:
        number, note = _num_classes(registry, part)
        if number is not None:
            yield f'{name}.num_classes={number}{note}', number


def _num_classes(registry: Any, part: dict) -> tuple[int | None, str]:
    """``num_classes`` of a part, or its class's default and a note that it is one."""
    if isinstance(part.get('num_classes'), int):
        return part['num_classes'], ''
    cls = _registered(registry, part)
    number = _default(cls, 'num_classes')
    return (number, f' (default of {cls.__name__})') if isinstance(number, int) else (None, '')


def _registered(registry: Any, part: dict) -> Any:
    kind = part.get('type')
    return registry.get(kind) if isinstance(kind, str) else kind


def _default(cls: Any, name: str) -> Any:
    """Default of an argument, of the first class in the order of inheritance that has it."""
    for owner in getattr(cls, '__mro__', ()):
        parameter = inspect.signature(owner.__init__).parameters.get(name) if '__init__' in vars(owner) else None
        if parameter is not None:
            return None if parameter.default is parameter.empty else parameter.default
    return None


def _check_unrectified(registry: Any, field: str, head: dict) -> None:
    predictor, loss = head.get('cls_predictor_cfg') or {}, head.get('loss_cls') or {}
    if next((kind for _, kind, _ in _parts(predictor)), None) != RECTIFIED:
        return
    others = 1  # background, the last output
    num_classes, _ = _num_classes(registry, head)
    if hasattr(_registered(registry, loss), 'get_cls_channels') and num_classes is not None:
        others = MODELS.build(deepcopy(loss)).get_cls_channels(num_classes) - num_classes
    rectification = predictor.get('rectification') or {}
    unrectified = rectification.get('unrectified', 0) if isinstance(rectification, dict) else None
    allowed = (0, 1)[:others + 1] if others < 2 else (others, )
    if isinstance(unrectified, int) and unrectified not in allowed:
        kind = next((kind for _, kind, _ in _parts(loss)), 'CrossEntropyLoss')
        raise LaunchError(f'{field}.cls_predictor_cfg.rectification.unrectified={unrectified}, but {kind} in '
                          f'{field}.loss_cls has {others} outputs behind those of the classes (background or '
                          f"objectness). Set it to {' or '.join(map(str, allowed))}.")
