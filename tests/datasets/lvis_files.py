"""Small annotation files for the tests of LVIS-format data."""
import json

import numpy as np


def polygon(x, y, w, h):
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def annotation(id, image_id, category_id, bbox, **kwargs):
    x, y, w, h = bbox
    return dict(dict(id=id, image_id=image_id, category_id=category_id, bbox=list(bbox), area=w * h,
                     segmentation=polygon(x, y, w, h)), **kwargs)


def tiny(**kwargs):
    """3 images, 3 categories whose order in the file is not that of their ids, 4 annotations."""
    names = {7: 'seven', 2: 'two', 5: 'five'}
    federated = dict(neg_category_ids=[5], not_exhaustive_category_ids=[])
    return dict(
        dict(
            images=[dict(federated, id=i, file_name=f'sub/{i}.png', width=40, height=30) for i in (11, 12, 13)],
            categories=[dict(id=i, name=name, frequency='r', image_count=1, instance_count=1)
                        for i, name in names.items()],
            annotations=[annotation(1, 11, 7, (0, 0, 10, 10)), annotation(2, 11, 2, (5, 5, 20, 10)),
                         annotation(3, 12, 7, (1, 1, 8, 8)), annotation(4, 11, 7, (20, 10, 8, 8))]), **kwargs)


def lvis_v1_like(classes, num_images=30, seed=0):
    """A file of the form of LVIS v1, with images without annotations, small images and boxes that the host drops."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for index in rng.permutation(num_images):
        width, height = (20, 300) if index % 7 == 0 else (400, 300)
        images.append(
            dict(id=int(index) * 3, width=width, height=height, neg_category_ids=[], not_exhaustive_category_ids=[],
                 coco_url=f'http://images.cocodataset.org/train2017/{index:012d}.jpg'))
        for _ in range(rng.integers(0, 6)):
            box = np.round(rng.uniform([-5, -5, 0, 0], [width, height, 60, 60]), 2).tolist()
            if rng.random() < 0.2:
                box[2] = 0.5
            category = int(rng.integers(len(classes))) + 1
            annotations.append(annotation(len(annotations) + 1, int(index) * 3, category, box))
    categories = [dict(id=i, name=name, frequency='c', image_count=20, instance_count=30)
                  for i, name in enumerate(classes, 1)]
    order = rng.permutation(len(annotations))
    return dict(images=images, annotations=[annotations[i] for i in order], categories=categories)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path
