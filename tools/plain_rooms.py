"""Rooms of the package that need neither torch nor a host, imported without the package's registration.

``import nbn_mm`` registers its parts, for which torch, mmengine, mmcv and both hosts are imported: 10 seconds and more.
A tool that converts, checks or draws files needs none of them and calls :func:`without_registration` first.
"""
import sys
import types
from pathlib import Path

# Beside tools/ in a checkout, above .mim/tools/ in an installed package.
ROOT = next(folder for folder in (Path(__file__).resolve().parents[1] / 'nbn_mm', Path(__file__).resolve().parents[2])
            if (folder / 'version.py').is_file())


def without_registration(*rooms: str) -> None:
    """Make modules of rooms importable by their full names, without the ``__init__`` of the package and of the rooms.

    Nothing is registered in this process. Where the package is imported already, nothing changes.

    Args:
        *rooms (str): Names below ``nbn_mm``, as in ``'evaluation.functional'``.
    """
    if 'nbn_mm' in sys.modules:
        return
    for name in ('', *{'.'.join(room.split('.')[:n + 1]) for room in rooms for n in range(room.count('.') + 1)}):
        package = types.ModuleType(f'nbn_mm.{name}' if name else 'nbn_mm')
        package.__path__ = [str(ROOT.joinpath(*name.split('.')) if name else ROOT)]
        sys.modules[package.__name__] = package
