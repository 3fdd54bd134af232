"""CheckpointGuardHook in real Runners, on a small network with the placement and keys of the real ones."""

import re

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from nbn_mm.engine.hooks import CheckpointGuardHook
from nbn_mm.engine.hooks.checkpoint_guard_hook import magnitude_keys
from nbn_mm.models.placement import apply_nbn

SAMPLES = [dict(inputs=torch.full((4,), float(i))) for i in range(4)]


class _Backbone(nn.Sequential):
    def forward(self, x):
        for name, layer in self.named_children():
            x = layer(x) if name.isdigit() else x  # the owner of the magnitude is no layer
        return x


class GuardedNet(BaseModel):
    """A backbone of two layers with norms, and a head."""

    def __init__(self, width=6, classes=3, depth=2, nbn=None, norm=None):
        super().__init__()
        make = norm or nn.BatchNorm1d
        layers = [nn.Sequential(nn.Linear(4 if i == 0 else width, width), make(width)) for i in range(depth)]
        self.backbone = _Backbone(*layers)
        self.head = nn.Linear(width, classes)
        if nbn is not None:
            apply_nbn(self.backbone, pattern=r'1\.1$', **nbn)

    def forward(self, inputs, mode='tensor'):
        logits = self.head(self.backbone(inputs))
        return dict(loss=logits.square().mean()) if mode == 'loss' else list(logits)


def _runner(tmp_path, model, **kwargs):
    _runner.count += 1
    loader = dict(
        batch_size=2,
        dataset=SAMPLES,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    guard = kwargs.pop('guard', {})
    return Runner(
        model,
        str(tmp_path),
        default_scope='mmengine',
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        test_dataloader=loader,
        test_cfg=dict(),
        test_evaluator=[dict(type='DumpResults', out_file_path=str(tmp_path / 'out.pkl'))],
        default_hooks=dict(checkpoint_guard=dict(type='CheckpointGuardHook', **guard)),
        experiment_name=f'guard_{_runner.count}',
        **kwargs,
    )


_runner.count = 0


def _save(tmp_path, model, prefix='', bare=False, **changes):
    state = {prefix + key: value for key, value in model.state_dict().items()}
    for key, value in changes.items():
        key = key.replace('__', '.')
        state.pop(key) if value is None else state.__setitem__(key, value)
    path = tmp_path / 'saved.pth'
    torch.save(state if bare else dict(state_dict=state, meta={}), path)
    return str(path)


def _test(tmp_path, model, path, **kwargs):
    _runner(tmp_path, model, load_from=path, **kwargs).test()


def _train(tmp_path, model, path, **kwargs):
    runner = _runner(tmp_path, model, load_from=path, **kwargs)
    runner.train()
    return runner


def _refuses(message):
    return pytest.raises(RuntimeError, match=re.compile(message, re.DOTALL))


@pytest.mark.parametrize('prefix, bare', [('', False), ('module.', False), ('', True), ('module.', True)])
def test_fitting_checkpoint(tmp_path, prefix, bare):
    saved = GuardedNet(nbn=dict())
    model = GuardedNet(nbn=dict())
    _test(tmp_path, model, _save(tmp_path, saved, prefix, bare))
    for key, value in saved.state_dict().items():
        assert torch.equal(value, model.state_dict()[key])


@pytest.mark.parametrize('nbn', [dict(), dict(share='none'), dict(separate_bias_magnitude=True)])
@pytest.mark.parametrize('run', [_test, _train])
def test_magnitude_for_a_model_without_nbn(tmp_path, nbn, run):
    path = _save(tmp_path, GuardedNet(nbn=nbn))
    with _refuses(
        rf"holds the NBN magnitude 'backbone\.nbn\.\w.*the model has no NBN.*checkpoint '{path}'"
        r'.*tools/model_converters/fold_nbn\.py'
    ):
        run(tmp_path, GuardedNet(), path)


@pytest.mark.parametrize('run', [_test, _train])
def test_magnitude_of_a_layer_for_a_model_without_nbn(tmp_path, run):
    """As norm_cfg=dict(type='NBN') writes it."""
    path = _save(tmp_path, GuardedNet(norm=MODELS.get('NBN')))
    with _refuses(r"holds the NBN magnitude 'backbone\.0\.1\.magnitude'"):
        run(tmp_path, GuardedNet(), path)


@pytest.mark.parametrize('run', [_test, _train])
def test_magnitudes_shared_otherwise(tmp_path, run):
    path = _save(tmp_path, GuardedNet(nbn=dict(share='none')))
    with _refuses(
        r"shares its NBN magnitudes otherwise.*'backbone\.nbn\.magnitudes\..*'backbone\.nbn\.magnitude'.*Set share"
    ):
        run(tmp_path, GuardedNet(nbn=dict()), path)


def test_bn_checkpoint_in_an_nbn_model(tmp_path):
    path = _save(tmp_path, GuardedNet())
    with _refuses(r"has the NBN magnitude 'backbone\.nbn\.magnitude', but the checkpoint holds none"):
        _test(tmp_path, GuardedNet(nbn=dict()), path)
    model = GuardedNet(nbn=dict(init_magnitude=2.5))
    _train(tmp_path, model, path)  # a training starts from it


def test_bn_checkpoint_with_a_start_that_equals_it(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr('nbn_mm.engine.hooks.checkpoint_guard_hook.print_log', lambda text, *_: lines.append(text))
    saved = GuardedNet()
    nn.init.uniform_(saved.backbone[1][1].weight, 0.5, 2)
    nn.init.uniform_(saved.backbone[1][1].bias, 0.5, 2)
    model = GuardedNet(nbn=dict(init_magnitude='pretrained'))
    _test(tmp_path, model, _save(tmp_path, saved))
    inputs = torch.randn(5, 4)
    torch.testing.assert_close(model.eval()(inputs), saved.eval()(inputs))
    assert len(lines) == 1 and 'the figures are those of BN' in lines[0]


def test_half_a_magnitude_is_no_start(tmp_path):
    nbn = dict(separate_bias_magnitude=True, init_magnitude='pretrained')
    path = _save(tmp_path, GuardedNet(nbn=nbn), backbone__nbn__bias_magnitude=None)
    with _refuses(r'of another model.*1 missing: backbone\.nbn\.bias_magnitude'):
        _test(tmp_path, GuardedNet(nbn=nbn), path)


@pytest.mark.parametrize(
    'saved, changes, message',
    [
        (
            dict(classes=5),
            {},
            r'2 mismatched: head\.weight \(checkpoint torch\.Size\(\[5, 6\]\), model torch\.Size\(\[3, 6\]\)\)',
        ),
        (dict(depth=3), {}, r'unexpected: backbone\.2\.0\.weight'),
        (dict(depth=1), {}, r'missing: backbone\.1\.0\.weight'),
        (dict(), dict(head__bias=None), r'1 missing: head\.bias'),
        (dict(), dict(head__scale=torch.ones(1)), r'1 unexpected: head\.scale'),
    ],
)
def test_another_model_at_test(tmp_path, saved, changes, message):
    path = _save(tmp_path, GuardedNet(**saved), **changes)
    with _refuses(rf"of another model \(checkpoint '{path}'.*{message}.*default_hooks\.checkpoint_guard\.ignore"):
        _test(tmp_path, GuardedNet(), path)


def test_harmless_and_ignored_keys(tmp_path):
    changes = dict(backbone__0__1__num_batches_tracked=None, data_preprocessor__mean=torch.ones(3))
    _test(tmp_path, GuardedNet(), _save(tmp_path, GuardedNet(), **changes))
    path = _save(tmp_path, GuardedNet(), head__bias=None, teacher__w=torch.ones(1))
    _test(tmp_path, GuardedNet(), path, guard=dict(ignore=['^teacher', r'^head\.bias$']))


def test_a_new_head_is_a_warning_in_training(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr('nbn_mm.engine.hooks.checkpoint_guard_hook.print_log', lambda line, *_: lines.append(line))
    saved = GuardedNet(classes=7)
    _train(tmp_path, GuardedNet(), _save(tmp_path, saved))
    assert len(lines) == 1 and 'does not fill the whole model' in lines[0] and '2 mismatched: head.weight' in lines[0]
    _train(tmp_path, GuardedNet(classes=7), _save(tmp_path, saved))
    assert len(lines) == 1, 'nothing to warn of'


@pytest.mark.parametrize('saved', [GuardedNet(width=9), nn.Linear(3, 3)])
def test_another_architecture_in_training(tmp_path, saved):
    with _refuses(r'load_from fills 0 of 8 tensors of the backbone: .*another architecture.*init_cfg'):
        _train(tmp_path, GuardedNet(), _save(tmp_path, saved))


def test_overlap_is_a_setting(tmp_path):
    path = _save(tmp_path, GuardedNet(depth=1))
    _train(tmp_path, GuardedNet(), path)  # 4 of 8 tensors
    with _refuses('load_from fills 4 of 8 tensors'):
        _train(tmp_path, GuardedNet(), path, guard=dict(min_overlap=0.6))
    with pytest.raises(ValueError, match=r'min_overlap=1\.5 of CheckpointGuardHook'):
        CheckpointGuardHook(min_overlap=1.5)


def test_resume_is_strict(tmp_path):
    """A BN run does not go on as an NBN run."""
    _train(tmp_path, GuardedNet(), None)
    path = str(tmp_path / 'epoch_1.pth')
    _train(tmp_path, GuardedNet(), path, resume=True)
    with _refuses('but the checkpoint holds none'):
        _train(tmp_path, GuardedNet(nbn=dict(init_magnitude='pretrained')), path, resume=True)
    with _refuses('of another model'):
        _train(tmp_path, GuardedNet(classes=2), path, resume=True)


def test_keys_converted_by_a_module_count_as_converted(tmp_path):
    """Old names that a module translates in its pre-hook are not missing."""

    class Renaming(GuardedNet):
        def __init__(self):
            super().__init__()
            self._register_load_state_dict_pre_hook(
                lambda state, *_: (
                    state.update({'head.bias': state.pop('head.offset')}) if 'head.offset' in state else None
                )
            )

    path = _save(tmp_path, GuardedNet(), head__bias=None, head__offset=torch.full((3,), 7.0))
    model = Renaming()
    _test(tmp_path, model, path)
    assert torch.equal(model.head.bias, torch.full((3,), 7.0))


def test_magnitude_keys():
    keys = [
        'backbone.nbn.magnitude',
        'nbn.bias_magnitudes.layer4-0',
        'a.magnitude',
        'a.running_mean',
        'b.magnitude',
        'backbone.nbnx.magnitude',
        'a.bias_magnitude',
    ]
    assert magnitude_keys(keys) == [
        'backbone.nbn.magnitude',
        'nbn.bias_magnitudes.layer4-0',
        'a.magnitude',
        'a.bias_magnitude',
    ]
