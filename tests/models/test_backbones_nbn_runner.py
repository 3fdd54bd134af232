"""A placed NBN network in mmengine's Runner: loading, EMA, checkpoints and resuming."""
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

import nbn_mm  # noqa: F401, the import registers


class Noise(Dataset):
    """Eight fixed images of noise with two labels."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        image = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(index)) + index % 2
        return image, index % 2


class Classifier(BaseModel):

    def __init__(self, backbone):
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(64, 2)

    def forward(self, images, labels, mode='tensor'):
        logits = self.head(self.backbone(images)[-1].mean((2, 3)))
        return dict(loss=nn.functional.cross_entropy(logits, labels)) if mode == 'loss' else logits


class Logits(BaseMetric):

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return dict(total=float(torch.stack(results).sum()))


def runner(work_dir, name, epochs=2, nbn=None, **cfg):
    loader = dict(dataset=Noise(), batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
                  collate_fn=dict(type='default_collate'))
    backbone = dict(type='NBNBackbone', base='CIFARResNet', depth=8, nbn=nbn or {})
    if nbn is False:
        backbone = dict(type='CIFARResNet', depth=8)
    torch.manual_seed(0)
    return Runner(
        Classifier(backbone), str(work_dir), experiment_name=name, train_dataloader=loader, val_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs), val_cfg=dict(), val_evaluator=[Logits()],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4),
                           constructor='NBNOptimWrapperConstructor', paramwise_cfg=dict(magnitude_decay_mult=0.)),
        custom_hooks=[dict(type='EMAHook', momentum=0.1)], randomness=dict(seed=1), log_level='ERROR', **cfg)


def checkpoint(work_dir, epoch):
    return torch.load(work_dir / f'epoch_{epoch}.pth', weights_only=False)


def test_train_resume_and_average(tmp_path):
    whole = runner(tmp_path / 'whole', 'whole', epochs=2)
    whole.train()
    runner(tmp_path / 'parts', 'first', epochs=1).train()
    first = str(tmp_path / 'parts' / 'epoch_1.pth')
    resumed = runner(tmp_path / 'parts', 'second', epochs=2, resume=True, load_from=first)
    resumed.train()
    want, got = checkpoint(tmp_path / 'whole', 2), checkpoint(tmp_path / 'parts', 2)
    for part in ('state_dict', 'ema_state_dict'):
        assert set(got[part]) == set(want[part])
        for key, value in want[part].items():
            torch.testing.assert_close(got[part][key], value, msg=f'{part}: {key}')
    assert want['state_dict']['backbone.nbn.magnitude'] != 1
    assert want['state_dict']['backbone.nbn.magnitude'] != want['ema_state_dict']['module.backbone.nbn.magnitude']


def test_averages_are_evaluated_and_taken_back(tmp_path):
    """EMAHook swaps by ``.data.copy_``: each evaluation is that of a fresh network with the same numbers."""
    one = runner(tmp_path, 'swapped', epochs=1)
    one.train()
    hook = next(hook for hook in one.hooks if isinstance(hook, EMAHook))
    images = torch.stack([Noise()[index][0] for index in range(8)])

    def logits(state):
        fresh = runner(tmp_path, 'fresh').model.eval()
        fresh.load_state_dict(state)
        return fresh(images, None)

    average = {key.removeprefix('module.'): value.clone() for key, value in hook.ema_model.state_dict().items()
               if key.startswith('module.')}
    own = {key: value.clone() for key, value in one.model.state_dict().items()}
    with torch.no_grad():
        one.model.eval()
        for _ in range(2):
            assert torch.equal(one.model(images, None), logits(own))
            hook.before_val_epoch(one)
            assert torch.equal(one.model(images, None), logits(average))
            hook.after_val_epoch(one)
        assert not torch.equal(logits(own), logits(average))


def test_loading_a_plain_network(tmp_path):
    runner(tmp_path / 'plain', 'plain', epochs=1, nbn=False).train()
    path = str(tmp_path / 'plain' / 'epoch_1.pth')
    plain = runner(tmp_path / 'again', 'again', nbn=False, load_from=path).val()['total']
    with pytest.raises(RuntimeError, match=r'no NBN magnitude \(magnitude\).*`backbone.nbn`'):
        runner(tmp_path / 'scalar', 'scalar', load_from=path).val()
    equal = runner(tmp_path / 'gains', 'gains', nbn=dict(init_magnitude='pretrained'), load_from=path)
    assert equal.val()['total'] == pytest.approx(plain, rel=1e-4)
    tuned = runner(tmp_path / 'tuned', 'tuned', epochs=1, load_from=path)
    tuned.train()  # trains, then evaluates: the guard is content
    assert 'backbone.nbn.magnitude' in checkpoint(tmp_path / 'tuned', 1)['state_dict']
