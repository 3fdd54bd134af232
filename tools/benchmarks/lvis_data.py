"""LVIS-shaped ground truth and detections for benchmarks: federated, long-tailed, some 12 annotations an image."""
import json
import pickle
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils

HEIGHT, WIDTH = 480, 640
VERTICES = 24
COCO_URL = 'http://images.cocodataset.org/train2017/'


def class_shares(num_classes: int, frequency_file: str | None) -> np.ndarray:
    """Share of each class: from the image counts of a list of LVIS categories, or a power law in random order."""
    if frequency_file:
        counts = np.array([category['image_count'] for category in json.loads(Path(frequency_file).read_text())], float)
        counts = np.resize(counts, num_classes) + 1
    else:
        counts = np.random.default_rng(0).permutation(1.0 / np.arange(1, num_classes + 1)**1.3)
    return counts / counts.sum()


def _ellipses(rng: np.random.Generator, boxes: np.ndarray, vertices: int = VERTICES) -> list[list[list[float]]]:
    """A wobbly ellipse in each box (x, y, w, h), as COCO polygons with two decimals."""
    angles = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    radius = rng.uniform(0.8, 1.0, (len(boxes), vertices)) / 2
    x = boxes[:, :1] + boxes[:, 2:3] * (0.5 + radius * np.cos(angles))
    y = boxes[:, 1:2] + boxes[:, 3:] * (0.5 + radius * np.sin(angles))
    return [[points] for points in np.stack([x, y], axis=2).reshape(len(boxes), -1).round(2).tolist()]


def _boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    side = np.exp(rng.uniform(np.log(8), np.log(250), (number, 2)))
    corner = rng.random((number, 2)) * (np.array([WIDTH, HEIGHT]) - side)
    return np.concatenate([corner, side], axis=1).round(2)


def write_data(folder: Path, images: int, dets: int, classes: int, frequency_file: str | None = None,
               masks: bool = True, seed: int = 0, vertices: int = VERTICES) -> None:
    """Write ``annotations.json`` and ``detections.pkl``.

    The latter is a stream of pickles ``(img_id, scores, labels, boxes, rles)``, one an image: float32 of shape
    ``(N, )``, int32 of shape ``(N, )``, float64 of shape ``(N, 4)``, list of compressed RLEs (or None).

    Args:
        folder (Path): Where to.
        images (int): Number of images.
        dets (int): Detections an image.
        classes (int): Number of classes.
        frequency_file (str, optional): JSON list of categories with ``image_count``. Defaults to None, a power law.
        masks (bool): Whether detections have masks. Defaults to True.
        seed (int): Seed of everything. Defaults to 0.
        vertices (int): Vertices of an annotation's polygon. Defaults to 24.
    """
    rng = np.random.default_rng(seed)
    shares = class_shares(classes, frequency_file)
    rank = np.argsort(np.argsort(shares)) / classes
    frequencies = np.where(rank < 337 / 1203, 'r', np.where(rank < 798 / 1203, 'c', 'f')).tolist()
    content = dict(images=[], annotations=[], categories=[dict(id=k + 1, name=f'class{k + 1}', frequency=frequencies[k])
                                                          for k in range(classes)])
    with (folder / 'detections.pkl').open('wb') as stream:
        for img_id in range(1, images + 1):
            present = np.unique(rng.choice(classes, 1 + rng.poisson(2.5), p=shares))
            labels = np.repeat(present, rng.geometric(0.28, len(present)))
            boxes = _boxes(rng, len(labels))
            others = np.setdiff1d(rng.choice(classes, 9), present)
            content['images'].append(dict(
                id=img_id, height=HEIGHT, width=WIDTH, coco_url=f'{COCO_URL}{img_id:012d}.jpg',
                neg_category_ids=(others[:7] + 1).tolist(),
                not_exhaustive_category_ids=(present[rng.random(len(present)) < 0.2] + 1).tolist()))
            polygons = _ellipses(rng, boxes, vertices)
            for label, box, polygon in zip(labels.tolist(), boxes.tolist(), polygons, strict=True):
                area = float(mask_utils.area(mask_utils.frPyObjects(polygon, HEIGHT, WIDTH))[0])
                content['annotations'].append(dict(id=len(content['annotations']) + 1, image_id=img_id, bbox=box,
                                                   category_id=label + 1, area=area, segmentation=polygon))
            pickle.dump((img_id, *_detections(rng, dets, labels, boxes, others, shares, masks)), stream)
    (folder / 'annotations.json').write_text(json.dumps(content))


def _detections(rng: np.random.Generator, dets: int, labels: np.ndarray, boxes: np.ndarray, others: np.ndarray,
                shares: np.ndarray, masks: bool) -> tuple:
    """A third near annotations of their class, a sixth elsewhere of present or negative classes, the rest of any."""
    near = rng.integers(len(labels), size=dets // 3)
    known = rng.choice(np.concatenate([labels, others]), dets // 6)
    rest = rng.choice(len(shares), dets - len(near) - len(known), p=shares)
    noise = rng.normal(0, rng.choice([0.03, 0.1, 0.3], (len(near), 1)), (len(near), 4))
    moved = boxes[near] + noise * np.tile(boxes[near, 2:], 2)
    all_boxes = np.concatenate([moved, _boxes(rng, dets - len(near))])
    all_boxes[:, 2:] = np.maximum(all_boxes[:, 2:], 1.0)
    scores = rng.random(dets) * np.where(np.arange(dets) < len(near), 1.0, 0.6)
    rles = None
    if masks:
        polygons = [polygon[0] for polygon in _ellipses(rng, all_boxes)]
        rles = mask_utils.frPyObjects(polygons, HEIGHT, WIDTH)
    return scores.astype(np.float32), np.concatenate([labels[near], known, rest]).astype(np.int32), all_boxes, rles
