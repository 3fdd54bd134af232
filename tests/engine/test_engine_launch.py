"""What keeps a run from starting, told before anything is built."""
import copy
from urllib.error import URLError

import pytest
import torch
from launch_config import BASE
from mmengine.config import Config
from PIL import Image

from nbn_mm.engine.inference import infer
from nbn_mm.engine.launch import LaunchError, test, train
from nbn_mm.engine.launch.configure import _use_tta, configure_test, configure_train, load_config

run_test = test
del test  # pytest would collect it


def test_missing_files(write, tmp_path):
    with pytest.raises(LaunchError, match=r"The config file 'nowhere\.py' does not exist"):
        train('nowhere.py')
    with pytest.raises(LaunchError, match=r"The checkpoint 'nowhere\.pth' does not exist"):
        run_test(write(), 'nowhere.pth')
    with pytest.raises(LaunchError, match=rf"The checkpoint '{tmp_path}' is a directory"):
        run_test(write(), str(tmp_path))
    with pytest.raises(LaunchError, match=r"The checkpoint of load_from 'gone\.pth' does not exist"):
        train(write(load_from='gone.pth'))
    with pytest.raises(LaunchError, match=r"The checkpoint of --resume 'gone\.pth' does not exist"):
        train(write(), resume='gone.pth')


def test_addresses_are_left_to_the_loader(write):
    cfg = load_config('train', write(load_from='https://example.org/a.pth'), {})
    configure_train(cfg, {})
    assert cfg.load_from == 'https://example.org/a.pth'


@pytest.mark.parametrize('scope', [None, 'mmseg'])
def test_default_scope_must_name_a_host(write, scope):
    with pytest.raises(LaunchError, match=rf'default_scope={scope!r} of .*config\.json names no host'):
        train(write(default_scope=scope))


@pytest.mark.parametrize(
    'tool, option, scope, belongs',
    [
        ('train', 'no_validate', 'mmdet', 'mmpretrain'),
        ('train', 'no_pin_memory', 'mmdet', 'mmpretrain'),
        ('train', 'no_persistent_workers', 'mmdet', 'mmpretrain'),
        ('test', 'out_item', 'mmdet', 'mmpretrain'),
        ('test', 'amp', 'mmdet', 'mmpretrain'),
        ('train', 'sharpen', 'mmpretrain', None),
    ],
)
def test_foreign_options(write, tool, option, scope, belongs):
    flag = '--' + option.replace('_', '-')
    owner = rf' \(it is an option of {belongs}\)' if belongs else ''
    with pytest.raises(
        LaunchError, match=rf"{flag} is no option of {scope}'s {tool} tool{owner}, and default_scope='{scope}'"
    ):
        load_config(tool, write(default_scope=scope), {option: True})


def test_amp_on_a_cpu(write, on_cpu):
    with pytest.raises(LaunchError, match='--amp needs a GPU'):
        train(write(), amp=True)
    with pytest.raises(LaunchError, match=r"optim_wrapper\.type='AmpOptimWrapper' needs a GPU"):
        train(write(optim_wrapper=dict(type='AmpOptimWrapper')))


def test_amp_needs_a_known_wrapper(write):
    with pytest.raises(LaunchError, match=r"--amp would replace optim_wrapper\.type='Mine'"):
        train(write(optim_wrapper=dict(type='Mine')), amp=True)
    with pytest.raises(LaunchError, match='--amp needs an optim_wrapper'):
        train(write(optim_wrapper=None), amp=True)


def test_amp_with_an_accelerator(write, monkeypatch):
    monkeypatch.setattr('nbn_mm.engine.launch.checks.get_device', lambda: 'cuda')
    cfg = load_config('train', write(), {'amp': True})
    configure_train(cfg, {'amp': True})
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper' and cfg.optim_wrapper.loss_scale == 'dynamic'


def test_auto_scale_lr_needs_its_batch(write):
    for setting in (None, dict(enable=False)):
        with pytest.raises(LaunchError, match=r'--auto-scale-lr needs auto_scale_lr=dict\(base_batch_size'):
            train(write(auto_scale_lr=setting), auto_scale_lr=True)


@pytest.mark.parametrize(
    'model',
    [
        dict(backbone=dict(type='NBNBackbone', base='ResNet')),
        dict(backbone=dict(type='mmengine.NBNBackbone')),
        dict(backbone=dict(norm_cfg=dict(type='NBN'))),
        dict(heads=[dict(conv=dict(norm_cfg=dict(type='NBN')))]),
    ],
)
def test_sync_bn_beside_nbn(write, model):
    with pytest.raises(LaunchError, match=r"sync_bn='torch'.*NBN.*nbn=dict\(sync=True\)"):
        train(write(model=model, sync_bn='torch'))


def test_sync_bn_of_several_processes_on_a_cpu(write, on_cpu):
    with pytest.raises(LaunchError, match="sync_bn='torch' has no CPU kernel.*AllReduceBN"):
        train(write(sync_bn='torch'), launcher='pytorch')
    assert load_config('train', write(sync_bn='torch'), {}).sync_bn == 'torch'


def test_out_file(write, checkpoint):
    with pytest.raises(LaunchError, match='--out-item metrics needs --out'):
        run_test(write(), checkpoint, out_item='metrics')
    with pytest.raises(
        LaunchError, match=r"--out 'a\.json' must end in one of .* for predictions, or write the metrics"
    ):
        run_test(write(), checkpoint, out='a.json')
    with pytest.raises(LaunchError, match=r"--out 'a\.txt' must end in .*yaml.* for metrics"):
        run_test(write(), checkpoint, out='a.txt', out_item='metrics')


def test_show_needs_its_hook_and_test_its_fields(write, checkpoint):
    with pytest.raises(LaunchError, match='--show and --show-dir need the visualisation hook'):
        run_test(write(), checkpoint, show_dir='x')
    with pytest.raises(LaunchError, match='Testing needs test_dataloader, test_cfg and test_evaluator'):
        run_test(write(test_evaluator=None), checkpoint)


def test_tta_of_the_config_comes_first(write, checkpoint):
    """A pipeline inside a wrapped data set is found, and a tta_model of the config is used."""
    loader = dict(dataset=dict(type='RepeatDataset', dataset=dict(pipeline=[dict(type='PackInputs')])))
    cfg = load_config('test', write(test_dataloader=loader, tta_model=dict(type='Mine')), {})
    configure_test(cfg, checkpoint, dict(tta=True))
    assert cfg.model.type == 'Mine' and cfg.model.module.type == 'ImageClassifier'
    assert [step.type for step in cfg.test_dataloader.dataset.dataset.pipeline] == ['TestTimeAug']


def test_boxes_of_flipped_pictures_are_merged_as_the_detector_cuts_its_own():
    loader = dict(dataset=dict(type='Set', pipeline=[dict(type='PackDetInputs')]))
    nms = dict(type='nms', iou_threshold=0.6)
    model = dict(type='FasterRCNN', roi_head=dict(type='StandardRoIHead'),
                 test_cfg=dict(rpn=dict(max_per_img=1000), rcnn=dict(nms=nms, max_per_img=300)))
    cfg = Config(dict(default_scope='mmdet', model=model, test_dataloader=loader))
    masks = copy.deepcopy(cfg)
    _use_tta(cfg)
    assert cfg.model.tta_cfg == dict(nms=nms, max_per_img=300)
    masks.model.roi_head.mask_head = dict(type='FCNMaskHead')
    with pytest.raises(LaunchError, match='--tta: .* merges boxes alone, and model.roi_head has a mask_head'):
        _use_tta(masks)


def test_guard_is_added_once(write):
    assert load_config('train', write(), {}).default_hooks.checkpoint_guard.type == 'CheckpointGuardHook'
    assert (
        load_config('train', write(default_hooks=None), {}).default_hooks.checkpoint_guard.type == 'CheckpointGuardHook'
    )
    own = dict(type='CheckpointGuardHook', ignore=['x'])
    assert (
        load_config('train', write(default_hooks=dict(checkpoint_guard=own)), {}).default_hooks.checkpoint_guard == own
    )
    assert 'checkpoint_guard' not in load_config('train', write(custom_hooks=[own]), {}).default_hooks


def test_work_dir_and_options(write):
    cfg = load_config('train', write(), dict(cfg_options={'model.backbone.depth': 34}))
    assert cfg.work_dir == 'work_dirs/config' and cfg.model.backbone.depth == 34 and cfg.launcher == 'none'
    assert load_config('train', write(work_dir='a'), {}).work_dir == 'a'
    assert load_config('train', write(work_dir='a'), dict(work_dir='b')).work_dir == 'b'


def test_resume_names_what_is_there(write, tmp_path):
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    (work_dir / 'last_checkpoint').write_text('/gone/epoch_3.pth')
    (work_dir / 'epoch_2.pth').touch()
    with pytest.raises(
        LaunchError,
        match=r"last_checkpoint names '/gone/epoch_3\.pth', which does not exist.*\['epoch_2\.pth'\]"
        '.*--resume PATH',
    ):
        train(write(), work_dir=str(work_dir), resume='auto')


def test_mmdet_keeps_the_dataloaders_of_its_config(write):
    cfg = load_config('train', write(default_scope='mmdet'), {})
    configure_train(cfg, {})
    assert cfg.train_dataloader == BASE['train_dataloader']


def test_efficient_conv_bn_eval_beside_nbn(write):
    with pytest.raises(LaunchError, match=r"efficient_conv_bn_eval=\['backbone'\].*NBNBackbone.*fold_nbn"):
        train(write(model=dict(backbone=dict(type='NBNBackbone', base='ResNet')), efficient_conv_bn_eval=['backbone']))


METRICS_IN_A_LIST = [dict(type='Accuracy'), dict(type='ShotGroupMetric')]


@pytest.mark.parametrize('settings, part, field', [
    (dict(model=dict(head=dict(loss=dict(type='BalancedSoftmaxLoss')))), 'BalancedSoftmaxLoss', r'model\.head\.loss'),
    (dict(val_evaluator=dict(type='ShotGroupMetric')), 'ShotGroupMetric', 'val_evaluator'),
    (dict(val_evaluator=METRICS_IN_A_LIST), 'ShotGroupMetric', r'val_evaluator\[1\]'),
    (dict(val_evaluator=dict(type='CalibrationMetric')), 'CalibrationMetric', 'val_evaluator'),
])
def test_counts_are_needed_and_nothing_gives_them(write, settings, part, field):
    message = rf"{part} in {field} needs the class counts.*ClassCountsHook.*{field}\.class_counts"
    with pytest.raises(LaunchError, match=message):
        train(write(**settings))


def test_counts_are_needed_at_test(write, checkpoint):
    settings = dict(test_evaluator=METRICS_IN_A_LIST, test_cfg=dict(), test_dataloader=dict())
    with pytest.raises(LaunchError, match=r'ShotGroupMetric in test_evaluator\[1\] needs the class counts'):
        run_test(write(**settings), checkpoint)


@pytest.mark.parametrize('given', [
    dict(default_hooks=dict(class_counts=dict(type='ClassCountsHook'))),
    dict(custom_hooks=[dict(type='ClassCountsHook')]),
    dict(val_evaluator=dict(type='ShotGroupMetric', class_counts=[3, 2])),
])
def test_counts_are_given(write, given):
    cfg = load_config('train', write(**{'val_evaluator': dict(type='ShotGroupMetric'), **given}), {})
    configure_train(cfg, {})


def test_a_file_that_is_no_checkpoint(write, tmp_path):
    junk = tmp_path / 'junk.pth'
    junk.write_bytes(b'this is no checkpoint')
    empty = tmp_path / 'empty.pth'
    torch.save(dict(state_dict={}, meta={}), empty)
    for path in (junk, empty):
        with pytest.raises(LaunchError, match=rf'The checkpoint cannot be used: .*{path.name}.* is no checkpoint'):
            run_test(write(), str(path))
        with pytest.raises(LaunchError, match=rf'The checkpoint of load_from cannot be used: .*{path.name}'):
            train(write(load_from=str(path)))


def test_missing_pretrained_weights(write):
    init = dict(type='Pretrained', checkpoint='nowhere/r18.pth')
    model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18, init_cfg=[init]))
    message = r"model\.backbone\.init_cfg\[0\]\.checkpoint 'nowhere/r18\.pth' does not exist"
    with pytest.raises(LaunchError, match=message):
        train(write(model=model))


def test_weights_that_cannot_be_fetched(write, monkeypatch, tmp_path):
    class Offline:
        logger = None

        def train(self):
            raise URLError('no route')

    monkeypatch.setattr('nbn_mm.engine.launch.api._build_runner', lambda cfg: Offline())
    init = dict(type='Pretrained', checkpoint='https://example.org/r18.pth')
    model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18, init_cfg=init))
    with pytest.raises(LaunchError, match=r"no route.*model\.backbone\.init_cfg\.checkpoint='https://example.org/r18"):
        train(write(model=model), work_dir=str(tmp_path))


def test_predictions_of_a_classifier_are_not_saved(write, checkpoint, tmp_path):
    Image.new('RGB', (4, 4)).save(tmp_path / 'a.png')
    with pytest.raises(LaunchError, match='--save-predictions belongs to mmdet'):
        infer(write(), checkpoint, str(tmp_path), str(tmp_path / 'out'), save_predictions=True)
