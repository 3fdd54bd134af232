"""The comparison of NBN's starts, in little: two iterations of a detector from a backbone that was never trained."""
import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from nbn_mm.datasets.shapes_lvis import make_shapes_lvis

for host in ('mmdet', 'mmpretrain'):
    pytest.importorskip(host, reason=f'the comparison needs {host}')

TOOL = Path(__file__).resolve().parents[2] / 'tools/analysis_tools/compare_nbn_starts.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('compare_nbn_starts', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def inputs(tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp('starts')
    make_shapes_lvis(folder / 'shapes', num_train=12, num_val=3)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        network = MODELS.build(dict(type='ResNet', depth=18, stem_channels=64, base_channels=tool.WIDTH))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
    torch.save(dict(state_dict={f'backbone.{key}': value for key, value in network.state_dict().items()}),
               folder / 'pretrained.pth')
    return folder / 'pretrained.pth', folder / 'shapes'


def test_pretrained_start_is_the_bn_network(tool, inputs, tmp_path):
    bn, gains = (tool.detect(start, 0, *inputs, tmp_path / str(number), 2, 0.001, last_stage_only=True)
                 for number, start in enumerate(list(tool.STARTS)[:2]))
    assert bn[0] == 0 and gains[0] < 1e-5
    assert gains[1:3] == pytest.approx(bn[1:3], rel=0.1), 'after a step the two differ'
    assert len(bn) == len(gains) == 5
