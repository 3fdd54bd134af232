"""Polygons of a data set's annotations in little memory, and the same numbers again when an image is asked for.

A Python float takes 32 bytes, its pickle 9; the files of LVIS write two decimals, so that 2 bytes hold a coordinate.
"""
from array import array
from typing import Any

import numpy as np

INTEGERS = (np.uint8, np.uint16, np.int16, np.int32)


def hundredths(coordinates: np.ndarray) -> np.ndarray:
    """Integers of hundredths if each coordinate is found again from them, the coordinates themselves otherwise.

    Args:
        coordinates (np.ndarray): Float64, shape ``(N, )``.

    Returns:
        np.ndarray: The smallest integers that hold them, or float64; shape ``(N, )``.
    """
    if len(coordinates) and np.abs(coordinates).max() < np.iinfo(np.int32).max / 100:  # not with NaN
        values = np.rint(coordinates * 100)
        if np.array_equal(values / 100.0, coordinates):
            low, high = values.min(), values.max()
            return values.astype(next(dtype for dtype in INTEGERS if np.iinfo(dtype).min <= low <= high
                                      <= np.iinfo(dtype).max))
    return np.array(coordinates)


def pack_while_reading(entry: dict[str, Any]) -> dict[str, Any]:
    """The ``object_hook`` of a JSON file: polygons become tuples of ``array('d')`` as soon as they are read.

    Polygons that begin with an integer stay lists: a transform that makes an array of integers of them would work on
    other numbers.

    Args:
        entry (dict): Any object of the file.

    Returns:
        dict: The same.
    """
    polygons = entry.get('segmentation')
    if type(polygons) is list and polygons and all(type(p) is list and p and type(p[0]) is float for p in polygons):
        try:
            entry['segmentation'] = tuple(array('d', polygon) for polygon in polygons)
        except TypeError:  # no numbers; what uses them says so
            pass
    return entry


def pack_polygons(data_info: dict[str, Any]) -> None:
    """Put the coordinates of an image's packed polygons into one string of bytes, in place.

    Args:
        data_info (dict): With ``instances``, whose ``mask`` are as :func:`pack_while_reading` leaves them.
    """
    if 'polygons' in data_info:  # the same image a second time
        return
    coordinates = array('d')
    for instance in data_info['instances']:
        if isinstance(instance.get('mask'), tuple):
            for polygon in instance['mask']:
                coordinates.extend(polygon)
            instance['mask'] = tuple(map(len, instance['mask']))
    if coordinates:
        values = hundredths(np.frombuffer(coordinates))
        data_info['polygons'] = values.dtype.str, values.tobytes()


def unpack_polygons(data_info: dict[str, Any]) -> None:
    """Undo :func:`pack_polygons`, in place: ``mask`` is again a list of lists of floats, each equal to the file's."""
    if 'polygons' not in data_info:
        return
    dtype, content = data_info.pop('polygons')
    values = np.frombuffer(content, dtype=dtype)
    coordinates = (values if values.dtype == np.float64 else values / 100.0).tolist()
    start = 0
    for instance in data_info['instances']:
        if isinstance(instance.get('mask'), tuple):
            polygons = []
            for length in instance['mask']:
                polygons.append(coordinates[start:start + length])
                start += length
            instance['mask'] = polygons
