"""Small random federated ground truth with detections, dense in the cases where evaluations differ."""
import numpy as np
from pycocotools import mask as mask_utils

SIZE = (160, 192)


def random_box(rng, side=None):
    h, w = SIZE
    side = side or rng.choice([6, 20, 32, 40, 90, 110])
    bw, bh = (float(round(side * rng.uniform(0.7, 1.3), 2)) for _ in range(2))
    x, y = float(round(rng.uniform(0, w - 10), 2)), float(round(rng.uniform(0, h - 10), 2))
    return [x, y, max(1.0, min(bw, w - x)), max(1.0, min(bh, h - y))]


def jitter(rng, box, amount):
    noise = rng.normal(0, amount, 4) * np.array([box[2], box[3], box[2], box[3]])
    x, y, w, h = (np.asarray(box) + noise).tolist()
    return [x, y, max(w, 0.5), max(h, 0.5)]


def polygon(box, cut=0.0):
    """An octagon within the box; ``cut`` 0 is the box itself."""
    x, y, w, h = box
    a, b = cut * w, cut * h
    points = [(x + a, y), (x + w - a, y), (x + w, y + b), (x + w, y + h - b), (x + w - a, y + h), (x + a, y + h),
              (x, y + h - b), (x, y + b)]
    return [round(float(v), 2) for point in points for v in point]


def rle_of(box, cut=0.0):
    rle = mask_utils.merge(mask_utils.frPyObjects([polygon(box, cut)], *SIZE))
    return dict(size=list(SIZE), counts=rle['counts'].decode())


def random_annotations(rng, num_images=12, num_classes=9, first_ann_id=1):
    """Dict of an LVIS-format file: ids with gaps and out of order, classes without annotations, empty images."""
    cat_ids = (rng.permutation(num_classes) * 3 + 2).tolist()
    img_ids = (rng.permutation(num_images) * 7 + 5).tolist()
    categories = [dict(id=c, name=f'class{c}', frequency='rcf'[i % 3], image_count=i + 1, instance_count=2 * i + 1)
                  for i, c in enumerate(cat_ids)]
    used = cat_ids[:-2] if num_classes > 3 else cat_ids
    images, annotations = [], []
    for position, img_id in enumerate(img_ids):
        present = [] if position % 5 == 4 else rng.choice(used, rng.integers(1, min(5, len(used)) + 1), False).tolist()
        for cat_id in present:
            for _ in range(rng.integers(1, 7)):
                box = random_box(rng)
                cut = float(rng.choice([0.0, 0.2, 0.3]))
                area = round(box[2] * box[3] * (1 - 2 * cut**2), 2)
                area = float(rng.choice([area, 32.0**2, 96.0**2], p=[0.9, 0.05, 0.05]))
                kind = rng.random()
                segmentation = [polygon(box, cut)]
                if kind < 0.2:
                    segmentation.append(polygon(random_box(rng, 12), 0.1))
                elif kind < 0.3:
                    segmentation = rle_of(box, cut)
                elif kind < 0.4:
                    decoded = mask_utils.decode(rle_of(box, cut)).T.reshape(-1)
                    changes = np.flatnonzero(np.diff(np.concatenate([[0], decoded])))
                    counts = np.diff(np.concatenate([[0], changes, [decoded.size]])).tolist()
                    segmentation = dict(size=list(SIZE), counts=counts)
                entry = dict(id=0, image_id=img_id, category_id=cat_id, bbox=box, area=area, segmentation=segmentation)
                flaw = rng.random()
                if flaw < 0.06:
                    entry['area'] = 0
                elif flaw < 0.15:
                    entry['ignore'] = 1
                elif flaw < 0.25:
                    entry['iscrowd'] = 1
                annotations.append(entry)
                if rng.random() < 0.1:  # the same shape twice: equal IoUs
                    annotations.append(dict(entry))
        absent = [c for c in cat_ids if c not in present]
        negative = rng.choice(absent, min(len(absent), rng.integers(0, 4)), False).tolist()
        not_exhaustive = rng.choice(cat_ids, rng.integers(0, 3), False).tolist()
        images.append(dict(id=img_id, height=SIZE[0], width=SIZE[1], neg_category_ids=negative,
                           not_exhaustive_category_ids=not_exhaustive))
    order = rng.permutation(len(annotations)).tolist()
    annotations = [annotations[i] for i in order]
    for number, index in enumerate(rng.permutation(len(annotations)).tolist()):
        annotations[index]['id'] = number + first_ann_id
    return dict(images=images, categories=categories, annotations=annotations)


def random_detections(rng, annotations, per_image=40, crowded=None, ties=True):
    """Dict of image id to ``(scores, cat_ids, boxes, rles)`` as lists; every third image or so has none."""
    cat_ids = [c['id'] for c in annotations['categories']]
    result = {}
    for position, image in enumerate(annotations['images']):
        if position % 4 == 3:
            continue
        own = [a for a in annotations['annotations'] if a['image_id'] == image['id']]
        count = crowded if crowded and position % 4 == 1 else per_image
        scores, labels, boxes, rles = [], [], [], []
        for _ in range(count):
            if own and rng.random() < 0.6:
                source = own[rng.integers(len(own))]
                box = jitter(rng, source['bbox'], rng.choice([0.0, 0.02, 0.1]))
                labels.append(source['category_id'] if rng.random() < 0.9 else int(rng.choice(cat_ids)))
            else:
                box = random_box(rng)
                labels.append(int(rng.choice(cat_ids)))
            if rng.random() < 0.04:
                box[int(rng.integers(2, 4))] = 0.0
            if rng.random() < 0.05:
                box[2:] = [32.0, 32.0]
            boxes.append(box)
            rles.append(rle_of(box, 0.0 if rng.random() < 0.5 else 0.2))
            scores.append(float(rng.integers(0, 12)) / 12 if ties else float(rng.random()))
        result[image['id']] = (scores, labels, boxes, rles)
    return result


def official_results(detections, iou_type):
    """The detections as the official package reads them."""
    return [dict(image_id=img_id, category_id=label, score=score,
                 **(dict(bbox=box) if iou_type == 'bbox' else dict(segmentation=rle)))
            for img_id, columns in detections.items() for score, label, box, rle in zip(*columns, strict=True)]
