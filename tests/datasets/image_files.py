"""Miniatures of the published sets of image files, in their layouts."""
import json

import numpy as np
from PIL import Image


def picture(path, label, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 90, (40, 48, 3)) + 50 * np.eye(3, dtype=int)[label % 3]
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def imagenet_lt(root, counts=(6, 4, 2), flat_val=False):
    """Lists and folders as ImageNet-LT has them; ``flat_val``: ImageNet's validation images lie side by side."""
    names = [f'n0144{label}' for label in range(len(counts))]
    lines = dict(train=[], val=[], test=[])
    for label, (name, count) in enumerate(zip(names, counts, strict=True)):
        for i in range(count + 1):
            picture(root / f'train/{name}/{name}_{i}.JPEG', label, 100 * label + i)
            lines['val' if i == count else 'train'].append(f'train/{name}/{name}_{i}.JPEG {label}')
        for i in range(2):
            file = f'ILSVRC2012_val_{label}{i}.JPEG'
            picture(root / ('val' if flat_val else f'val/{name}') / file, label, 1000 + 100 * label + i)
            lines['test'].append(f'val/{name}/{file} {label}')
    for split, content in lines.items():
        (root / f'ImageNet_LT_{split}.txt').write_text('\n'.join(content) + '\n')
    return root


def places_lt(root, scenes=('a/airfield', 'a/apartment_building/outdoor', 'b/bar'), counts=(6, 4, 2)):
    """Lists and folders as Places-LT has them: scenes in folders of two levels or three, test images side by side."""
    lines = dict(train=[], val=[], test=[])
    for label, (scene, count) in enumerate(zip(scenes, counts, strict=True)):
        for i in range(count + 1):
            picture(root / f'data_256/{scene}/{i:08}.jpg', label, 100 * label + i)
            lines['val' if i == count else 'train'].append(f'data_256/{scene}/{i:08}.jpg {label}')
        picture(root / f'val_256/Places365_val_{label:08}.jpg', label, 1000 + label)
        lines['test'].append(f'val_256/Places365_val_{label:08}.jpg {label}')
    for split, content in lines.items():
        (root / f'Places_LT_{split}.txt').write_text('\n'.join(content) + '\n')
    return root


def inaturalist(root, counts=(5, 3)):
    """JSON files and folders as iNaturalist 2018 has them."""
    categories = [dict(id=i, name=str(1000 - i), supercategory='Aves') for i in range(len(counts))]
    for split, number in (('train', counts), ('val', (2, ) * len(counts))):
        images, annotations = [], []
        for label, count in enumerate(number):
            for _ in range(count):
                key = len(images) + 7
                name = f'train_val2018/Aves/{label}/{split}{key}.jpg'
                picture(root / name, label, key)
                images.append(dict(id=key, file_name=name))
                annotations.append(dict(id=key, image_id=key, category_id=label))
        annotations.reverse()  # nothing promises the order of the images
        (root / f'{split}2018.json').write_text(
            json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return root
