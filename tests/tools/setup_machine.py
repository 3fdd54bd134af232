"""What tests of the set-up share: its modules on the path, and a machine played by small programs on PATH."""
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools' / 'setup'))

import cuda_ops  # noqa: E402

TORCH = cuda_ops.Torch('2.11.0+cu130', '13.0', True)
SMI = """case "$*" in *query-gpu*) echo 'Probe H1';; *) echo '| Driver Version: 580.1   CUDA Version: {} |';; esac"""


def program(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A PATH of its own, without nvcc or nvidia-smi; programs are added by the test."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    monkeypatch.setenv('PATH', str(folder))
    monkeypatch.setattr(cuda_ops, 'DEFAULT_NVCC', str(tmp_path / 'no' / 'nvcc'))
    for name in ('CUDA_HOME', 'CUDA_PATH', 'NBN_MM_OPS', 'FORCE_CUDA', 'CXX'):
        monkeypatch.delenv(name, raising=False)
    return folder


def nvcc(folder, version):
    return program(folder, 'nvcc', f"echo 'Cuda compilation tools, release {version}, V{version}.1'")
