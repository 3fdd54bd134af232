"""LogN of box heads: statistics of the sampled proposals of training; background and objectness stay as they are."""
import numpy as np
import pytest
import torch
from mmengine.config import Config
from references import posthoc as reference
from torch import nn

from nbn_mm.engine.checkpoint_file import build_model
from nbn_mm.engine.posthoc_checkpoint import posthoc_checkpoint

pytest.importorskip('mmdet', reason='calibrates detectors')
import detectors  # noqa: E402

COUNTS = dict(classes=['ant', 'bee', 'cat'], images=[50, 12, 3])
CASES = {  # predictor, loss, columns behind the classes
    'linear': (dict(type='Linear'), dict(type='CrossEntropyLoss', use_sigmoid=False), 1),
    'rectified': (dict(type='RectifiedPredictor', base='Linear'), dict(type='BoxBalancedSoftmaxLoss'), 1),
    'seesaw': (dict(type='NormedLinear'), dict(type='FastSeesawLoss', num_classes=3), 2),
}


def write(folder, predictor, loss, cascade=False):
    """A config and a checkpoint of an untrained detector whose logits differ in mean and deviation."""
    model = detectors.detector(predictor=predictor)
    model['roi_head']['bbox_head']['loss_cls'] = loss
    if cascade:
        model['roi_head'].update(type='FastCascadeRoIHead', num_stages=2, stage_loss_weights=[1, .5])
        model['roi_head']['bbox_head'] = [model['roi_head']['bbox_head']] * 2
        model['train_cfg']['rcnn'] = [model['train_cfg']['rcnn']] * 2
    loader = dict(dataset=dict(type='Pictures'), batch_size=2, num_workers=0, collate_fn=dict(type='pseudo_collate'),
                  sampler=dict(type='DefaultSampler', shuffle=False))
    cfg = Config(dict(
        model=model, work_dir=str(folder / 'log'), experiment_name=str(folder), default_scope='mmdet',
        train_dataloader=loader, train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)), randomness=dict(seed=0), log_level='WARNING'))
    cfg.dump(folder / 'trained.py')
    torch.manual_seed(0)
    network = build_model(cfg)
    network.init_weights()
    for name, value in network.state_dict().items():
        if 'fc_cls' in name and value.is_floating_point():
            value.normal_(std=0.5).abs_() if name.endswith('running_var') else value.normal_(std=0.5)
    torch.save(dict(state_dict=network.state_dict(), meta=dict(class_counts=COUNTS)), folder / 'trained.pth')
    return network.eval()


def convert(folder, method):
    return posthoc_checkpoint(*(str(folder / name) for name in ('trained.py', 'trained.pth', 'out.pth')), method)


@pytest.fixture
def seen(monkeypatch):
    """Outputs of each classifier in the order of the calls, before anything is written."""
    found = {}
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: found.setdefault(module, []).append(output.detach().clone())
        if torch.is_tensor(output) and output.dim() == 2 and output.size(1) in (4, 5) else None)
    yield found
    handle.remove()


def columns(seen, predictor):
    """All logits that a predictor of the finished pass gave."""
    return [torch.cat(rows) for module, rows in seen.items() if type(module).__name__ == predictor]


@pytest.mark.parametrize('case', list(CASES))
def test_logn(case, seen, tmp_path):
    predictor, loss, extra = CASES[case]
    before = write(tmp_path, predictor, loss)
    text = convert(tmp_path, 'logn')
    assert 'roi_head.bbox_head.fc_cls' in text
    rows = [rows for rows in columns(seen, 'LogitRectification' if case == 'rectified' else
                                     type(before.roi_head.bbox_head.fc_cls).__name__) if len(rows) == 64]
    assert len(rows) == (2 if case == 'linear' else 1), 'four images of 16 proposals; fc_reg has four outputs, too'
    cfg = Config.fromfile(tmp_path / 'out.py')
    after = build_model(cfg).eval()
    after.load_state_dict(torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict'])
    x = torch.randn(20, 32)
    with torch.no_grad():
        old, new = (model.roi_head.bbox_head.fc_cls(x).double() for model in (before, after))
    expected = reference.log_n(old[:, :3].tolist(), rows[0][:, :3].tolist())
    np.testing.assert_allclose(new[:, :3], expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(new[:, 3:], old[:, 3:], rtol=1e-4, atol=1e-5)
    assert new.size(1) == 3 + extra and not torch.equal(old[:, :3].argsort(1), new[:, :3].argsort(1))
    assert hasattr(after.roi_head.bbox_head.fc_cls, 'logit_affine') == (case == 'seesaw')


def test_each_head_of_a_cascade(tmp_path):
    before = write(tmp_path, *CASES['seesaw'][:2], cascade=True)
    convert(tmp_path, 'iif')
    after = build_model(Config.fromfile(tmp_path / 'out.py')).eval()
    after.load_state_dict(torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict'])
    x = torch.randn(20, 32)
    for old, new in zip(before.roi_head.bbox_head, after.roi_head.bbox_head, strict=True):
        with torch.no_grad():
            expected = reference.iif(old.fc_cls(x)[:, :3].tolist(), COUNTS['images'])
            np.testing.assert_allclose(new.fc_cls(x)[:, :3], expected, rtol=1e-4)
