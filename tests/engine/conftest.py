"""A config and a checkpoint for tests of the launch, on a machine without a launcher."""
import json

import pytest
import torch
from launch_config import BASE

LAUNCH_VARIABLES = (
    'RANK',
    'LOCAL_RANK',
    'WORLD_SIZE',
    'LOCAL_WORLD_SIZE',
    'SLURM_PROCID',
    'SLURM_NTASKS',
    'SLURM_LOCALID',
    'SLURM_NODELIST',
    'MASTER_ADDR',
    'MASTER_PORT',
    'TORCHELASTIC_RUN_ID',
    'OMPI_COMM_WORLD_RANK',
)


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    """No variable that a launcher would have set."""
    for name in LAUNCH_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def on_cpu(monkeypatch):
    """What a machine without an accelerator says, wherever the tests run."""
    for module in ('checks', 'distributed'):
        monkeypatch.setattr(f'nbn_mm.engine.launch.{module}.get_device', lambda: 'cpu')


@pytest.fixture
def write(tmp_path):

    def write(**changes):
        path = tmp_path / 'config.json'
        path.write_text(json.dumps({key: value for key, value in {**BASE, **changes}.items() if value is not None}))
        return str(path)

    return write


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / 'some.pth'
    torch.save(dict(state_dict=dict(weight=torch.ones(1))), path)
    return str(path)
