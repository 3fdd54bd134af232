"""A copy of an image data set with smaller pictures, which are decoded in less time. They are encoded again."""
import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

PICTURES = {'.jpg', '.jpeg', '.png'}
MARKER = '.resize_images.json'
PARTIAL = '.partial'
BLOCK = 2**20


@dataclass
class ResizeReport:
    """What became of the pictures.

    Args:
        resized (int): Encoded again in this call.
        copied (int): Not larger than asked for: the same bytes.
        present (int): Written by an earlier call.
        others (int): Other files, copied.
        before (int): Bytes of all pictures that are in the copy, in the source.
        after (int): Their bytes in the copy.
        corrupt (list[str]): Pictures that could not be decoded, which the copy lacks, each with the reason.
    """
    resized: int = 0
    copied: int = 0
    present: int = 0
    others: int = 0
    before: int = 0
    after: int = 0
    corrupt: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Lines for the terminal."""
        share = f' ({self.after / self.before:.0%})' if self.before else ''
        lines = [f'{self.resized} pictures resized, {self.copied} copied as they are, {self.present} were there '
                 f'already, {self.others} other files copied.',
                 f'Pictures: {self.before:,} bytes before, {self.after:,} after{share}.',
                 'The resized pictures are encoded again: they are not the pictures of the source, and results trained '
                 'or tested on them are results on another data set. Say so beside each figure.']
        lines += [f'cannot be decoded, not in the copy: {name}' for name in self.corrupt]
        return '\n'.join(lines)


def resize_images(source: str | PathLike, target: str | PathLike, short_side: int = 256, quality: int = 90,
                  workers: int | None = None) -> ResizeReport:
    """Copy a folder tree; pictures whose shorter side is longer than ``short_side`` are resized to it.

    Folders, names and list files stay as they are. A picture is turned upright (EXIF), reduced by averaging areas
    (OpenCV's ``INTER_AREA``) and encoded by the format of its name. Each file is written under another name and then
    renamed, so that a call that was killed is repeated and goes on where it ended.

    Args:
        source (str | PathLike): Folder of the data set.
        target (str | PathLike): New folder, or one that an earlier call with the same settings has begun.
        short_side (int): Pixels of the shorter side. Defaults to 256.
        quality (int): Quality of JPEG, 1 to 100. Defaults to 90; at 95 the files are often larger than the source's.
        workers (int, optional): Processes; 0: this one alone; None: one a processor.

    Returns:
        ResizeReport: Counts, bytes and the pictures that could not be decoded.

    Raises:
        ValueError: If a setting is out of range, ``source`` is no folder or has no picture, one folder is within the
            other, ``target`` holds something else or the result of other settings, or an annotation file of the source
            has boxes or masks, which are in pixels of the original pictures.
    """
    source, target = Path(source), Path(target)
    pictures, others = _check(source, target, short_side, quality, workers)
    settings = dict(source=str(source.resolve()), short_side=short_side, quality=quality)
    _begin(target, settings)
    report = ResizeReport(others=len(others))
    for name in others:
        _write(target / name, (source / name).read_bytes())
    call = partial(_resize_one, source=source, target=target, short_side=short_side, quality=quality)
    if workers == 0:
        results: Iterator = map(call, pictures)
        _collect(report, pictures, results)
    else:
        with ProcessPoolExecutor(workers) as pool:
            _collect(report, pictures, pool.map(call, pictures, chunksize=16))
    return report


def _collect(report: ResizeReport, pictures: list[str], results: Iterator) -> None:
    for name, (kind, before, after) in zip(pictures, results, strict=True):
        if kind in ('resized', 'copied', 'present'):
            setattr(report, kind, getattr(report, kind) + 1)
            report.before += before
            report.after += after
        else:
            report.corrupt.append(f'{name} ({kind})')


def _check(source: Path, target: Path, short_side: int, quality: int, workers: int | None) -> tuple[list, list]:
    for name, value, low, high in (('short_side', short_side, 1, 2**15), ('quality', quality, 1, 100),
                                   ('workers', 0 if workers is None else workers, 0, 2**10)):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f'{name}={value!r} must be an integer from {low} to {high}.')
    if not source.is_dir():
        raise ValueError(f'{str(source)!r} is no folder.')
    first, second = source.resolve(), target.resolve()
    if first == second or first in second.parents or second in first.parents:
        raise ValueError(f'the copy {str(target)!r} must be outside of the data set {str(source)!r}, and it must not '
                         'contain it: pictures are never overwritten.')
    files = sorted(path for path in _files(source, second) if path.name != MARKER)
    pictures = [path for path in files if path.suffix.lower() in PICTURES]
    if not pictures:
        raise ValueError(f'{str(source)!r} has no picture ({", ".join(sorted(PICTURES))}).')
    others = [path for path in files if path.suffix.lower() not in PICTURES]
    for path in others:
        if path.suffix.lower() == '.json' and _has_shapes(path):
            raise ValueError(f'{str(path)!r} has boxes or masks, which are in pixels of the original pictures and '
                             'would not fit the copy. For detection leave the pictures as they are; LoadReducedJPEG '
                             'with ReducedResize decodes them at a smaller scale (docs/image_loading.md).')
    return [[path.relative_to(source).as_posix() for path in group] for group in (pictures, others)]


def _files(folder: Path, target: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """All files below a folder; folders that are links are gone into."""
    above = (*above, folder.resolve())
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and path.is_dir():
            place = path.resolve()
            if any(place in (each, *each.parents) for each in above):
                raise ValueError(f'{str(path)!r} is a link to a folder that holds it. Remove the link.')
            if place in (target, *target.parents):
                raise ValueError(f'the copy {str(target)!r} would be within {str(path)!r}, a link of the data set: '
                                 'pictures are never overwritten.')
        if path.is_dir():
            yield from _files(path, target, above)
        elif path.is_file():
            yield path


def _has_shapes(path: Path) -> bool:
    """Whether a JSON file has a key ``bbox`` or ``segmentation``; read in blocks, since LVIS's has a gigabyte."""
    tail = b''
    with path.open('rb') as stream:
        while block := stream.read(BLOCK):
            if any(key in tail + block for key in (b'"bbox"', b'"segmentation"')):
                return True
            tail = block[-16:]
    return False


def _begin(target: Path, settings: dict) -> None:
    """Make the folder, or see that it is one of an earlier call with the same settings."""
    marker = target / MARKER
    if marker.is_file():
        found = json.loads(marker.read_text())
        if found != settings:
            raise ValueError(f'{str(target)!r} was begun with {found}, this call has {settings}. Choose another '
                             'folder.')
        for path in target.rglob(f'.*{PARTIAL}'):
            path.unlink()
    elif target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f'{str(target)!r} exists, and it was not made by resize_images. Choose another folder.')
    _write(marker, json.dumps(settings).encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_file = path.with_name(f'.{path.name}{PARTIAL}')
    partial_file.write_bytes(content)
    os.replace(partial_file, path)


def _resize_one(name: str, source: Path, target: Path, short_side: int, quality: int) -> tuple[str, int, int]:
    """Write one picture; what was done (or the reason why it cannot be decoded), bytes before and after."""
    path, new = source / name, target / name
    before = path.stat().st_size
    if new.is_file():
        return 'present', before, new.stat().st_size
    content = path.read_bytes()
    try:
        image = _decode(content)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        return str(error) or type(error).__name__, before, 0
    height, width = image.shape[:2]
    if min(height, width) <= short_side:
        _write(new, content)
        return 'copied', before, before
    scale = short_side / min(height, width)
    size = max(short_side, round(width * scale)), max(short_side, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    options = [] if path.suffix.lower() == '.png' else [cv2.IMWRITE_JPEG_QUALITY, quality]
    content = cv2.imencode(path.suffix.lower(), small, options)[1].tobytes()
    _write(new, content)
    return 'resized', before, len(content)


def _decode(content: bytes) -> np.ndarray:
    """BGR, uint8, shape ``(H, W, 3)``, as the hosts' loader gives it; a truncated file is an error, as in Pillow."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        if image.mode == 'RGB' and image.format == 'JPEG':  # the same decoder, the same pixels
            return np.asarray(ImageOps.exif_transpose(image))[..., ::-1]
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError('OpenCV cannot decode it')
    return pixels
