"""A long-tailed list file from any list or folder, with a record of how it was drawn."""
import json
from os import PathLike
from pathlib import Path
from typing import Any

from .image_list import ImageList, check_classes, class_folders, read_image_list, scan_image_folder, write_image_list
from .long_tail import long_tail_counts, select_subset, subset_hash


def make_long_tailed(source: str | PathLike, out: str | PathLike, imbalance_factor: float, kind: str = 'exp',
                     subset: str | int = 'canonical', largest: int | None = None) -> dict[str, Any]:
    """Write a long-tailed list and, beside it with the suffix ``.json``, how it was drawn.

    Args:
        source (str | PathLike): A list file, or a folder of one subfolder a class.
        out (str | PathLike): The list to write; its paths are relative to the same folder as those of the source.
        imbalance_factor (float): Largest over smallest class size.
        kind (str): ``'exp'`` or ``'step'``. Defaults to ``'exp'``.
        subset (str | int): ``'canonical'``, ``'first'`` or a seed. Defaults to ``'canonical'``.
        largest (int, optional): Images of the largest class. Defaults to all that the largest class has.

    Returns:
        dict: What the JSON file holds: options, ``images``, ``counts``, ``classes`` and ``hash``.

    Raises:
        FileExistsError: If ``out`` or the file beside it exists.
        FileNotFoundError: If the source does not.
        ValueError: If ``out`` ends in ``.json``, the source or an option is wrong, or a class has too few images.
    """
    out = Path(out)
    if out.suffix == '.json':
        raise ValueError(f'out={str(out)!r} must not end in .json, which is the name of the record beside the list.')
    for path in (out, out.with_suffix('.json')):
        if path.exists():
            raise FileExistsError(f'{str(path)!r} exists, and is left as it is; choose another name.')
    images = scan_image_folder(source) if Path(source).is_dir() else read_image_list(source)
    check_classes(images)
    sizes = images.counts()
    names = images.classes or class_folders(images) or tuple(str(i) for i in range(len(sizes)))
    counts = long_tail_counts(int(sizes.max()) if largest is None else largest, len(sizes), imbalance_factor, kind)
    indices = select_subset(images.labels, counts, subset, names)
    chosen = ImageList(tuple(images.paths[i] for i in indices), images.labels[indices], str(out))
    record = dict(source=Path(source).name, imbalance_factor=imbalance_factor, imbalance_type=kind, subset=subset,
                  images=len(indices), counts=counts.tolist(), classes=list(names),
                  hash=subset_hash(indices, images.labels))
    write_image_list(chosen, out)
    out.with_suffix('.json').write_text(json.dumps(record, indent=1) + '\n', encoding='utf-8')
    return record
