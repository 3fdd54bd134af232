"""Tools that need no registration, in interpreters of their own: they do not wait for torch and the hosts."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tool_process import ROOT, run_tool


def fresh(tool, *args, cwd):
    """Exit code, output, and names of all imported modules."""
    result = subprocess.run([sys.executable, '-X', 'importtime', str(ROOT / 'tools' / tool), *map(str, args)], cwd=cwd,
                            capture_output=True, text=True)
    lines = result.stderr.splitlines()
    imported = {line.rsplit('|', 1)[1].strip() for line in lines if line.startswith('import time:')}
    rest = '\n'.join(line for line in lines if not line.startswith('import time:'))
    return result.returncode, result.stdout + rest, imported


def test_files_are_converted_without_torch(tmp_path):
    heavy = {'torch', 'mmengine', 'mmcv', 'mmpretrain', 'mmdet'}
    runs = [
        ('dataset_converters/make_shapes_lvis.py', 'shapes', '--num-train', '30', '--num-val', '8'),
        ('dataset_converters/check_lvis.py', '--ann', 'shapes/annotations/train.json', '--img-prefix', 'shapes'),
        ('dataset_converters/coco_to_lvis.py', '--help'),
        ('dataset_converters/resize_images.py', 'shapes/train', 'small', '--short-side', '40', '--workers', '2'),
        ('analysis_tools/summarize_runs.py', '--help'),
    ]
    for tool, *args in runs:
        code, output, imported = fresh(tool, *args, cwd=tmp_path)
        assert code == 0, output
        assert 'argparse' in imported and not heavy & imported, (tool, heavy & imported)
    assert len(list((tmp_path / 'small').rglob('*.jpg')) + list((tmp_path / 'small').rglob('*.png'))) == 30


@pytest.mark.parametrize('tool', ['analysis_tools/plot_class_accuracy.py', 'analysis_tools/plot_class_ap.py'])
def test_figures_are_drawn_without_the_hosts(tmp_path, tool):
    code, output, imported = fresh(tool, 'a=none.csv', '--out', 'a.png', cwd=tmp_path)
    assert code == 1 and 'none.csv' in output and not {'mmengine.runner', 'mmpretrain', 'mmdet'} & imported, output


@pytest.mark.parametrize('tool', ['train.py', 'test.py', 'print_config.py'])
def test_help_and_wrong_arguments_come_at_once(tmp_path, tool):
    for args, code in ((['--help'], 0), (['--no-such-option'], 2)):
        found, output, imported = fresh(tool, *args, cwd=tmp_path)
        assert found == code and 'usage:' in output and not {'mmpretrain', 'mmdet'} & imported, output


def test_print_config_imports_nothing_custom(tmp_path):
    (tmp_path / 'a.py').write_text("custom_imports = dict(imports=['nbn_mm'])\nvalue = 3\n")
    code, output, imported = fresh('print_config.py', 'a.py', cwd=tmp_path)
    assert code == 0 and 'value = 3' in output and 'nbn_mm' in output and 'nbn_mm' not in imported


def test_resize_images(tmp_path):
    (tmp_path / 'set').mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'set/a.jpg')
    tool = 'dataset_converters/resize_images.py'
    code, output = run_tool(tool, 'set', 'small', '--short-side', '30', '--workers', '0', cwd=tmp_path)
    assert code == 0 and '1 pictures resized' in output and 'not the pictures of the source' in output
    assert Image.open(tmp_path / 'small/a.jpg').size == (40, 30)
    code, output = run_tool(tool, 'set', 'set', cwd=tmp_path)
    assert code == 1 and output.startswith('error: the copy')
    Path(tmp_path / 'set/b.jpg').write_bytes(b'\xff\xd8')
    code, output = run_tool(tool, 'set', 'small', '--short-side', '30', '--workers', '0', cwd=tmp_path)
    assert code == 1 and 'not in the copy: b.jpg' in output


@pytest.mark.parametrize('tool', ['reproduce.py', 'dataset_converters/check_image_list.py', 'print_config.py'])
def test_tools_of_an_installed_package_start(tmp_path, tool):
    """An installed package keeps tools/ and configs/ in its folder .mim; the package itself is two folders above."""
    package = tmp_path / 'nbn_mm'
    shutil.copytree(ROOT / 'nbn_mm', package, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    shutil.copytree(ROOT / 'tools', package / '.mim/tools', ignore=shutil.ignore_patterns('__pycache__'))
    done = subprocess.run([sys.executable, str(package / '.mim/tools' / tool), '--help'], cwd=tmp_path,
                          capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': str(tmp_path)})
    assert done.returncode == 0 and done.stdout.startswith('usage:'), done.stderr
