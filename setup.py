"""Package metadata. The hosts, mmengine, mmcv and torch are in requirements/: metadata forces no line of packages."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = {'configs': ('*.py', '*.md', '*.yml', '*.json'), 'tools': ('*.py', '*.sh')}
DET = ['lvis>=0.5.3', 'pycocotools>=2.0.6']
CLS = ['scikit-learn>=1.1', 'scipy>=1.8']
TESTS = ['pytest>=7', 'pytest-xdist>=3', 'scikit-learn>=1.1', 'torchmetrics>=1.0']


class BuildWithConfigs(build_py):
    """Puts configs and tools into ``nbn_mm/.mim``, where the packages of OpenMMLab keep theirs."""

    def _shipped(self):
        for folder, patterns in SHIPPED.items():
            for pattern in patterns:
                for path in sorted((ROOT / folder).rglob(pattern)):
                    yield path, Path(self.build_lib, 'nbn_mm', '.mim', path.relative_to(ROOT))

    def run(self):
        super().run()
        if getattr(self, 'editable_mode', False):
            return
        for path, target in self._shipped():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    def get_outputs(self, include_bytecode=True):
        shipped = [] if getattr(self, 'editable_mode', False) else [str(target) for _, target in self._shipped()]
        return super().get_outputs(include_bytecode) + shipped


def version():
    return re.search(r"^__version__ = '([^']+)'", (ROOT / 'nbn_mm/version.py').read_text(), re.M).group(1)


def readme():
    path = ROOT / 'README.md'
    return path.read_text(encoding='utf-8') if path.is_file() else ''


setup(
    name='nbn_mm',
    version=version(),
    description='Normalizing Batch Normalization and long-tailed recognition for MMPretrain and MMDetection',
    long_description=readme(),
    long_description_content_type='text/markdown',
    packages=find_packages(include=('nbn_mm', 'nbn_mm.*')),
    package_data={'nbn_mm.reproduction': ['*.csv', 'tables/*.json']},
    python_requires='>=3.10,<3.13',
    install_requires=['numpy>=1.22', 'pillow>=9', 'matplotlib>=3.5'],
    extras_require=dict(cls=CLS, det=DET, all=CLS + DET, tests=TESTS, cluster=['submitit>=1.5']),
    cmdclass=dict(build_py=BuildWithConfigs),
    zip_safe=False,
)
