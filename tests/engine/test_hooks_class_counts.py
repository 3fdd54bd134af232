"""Class counts through real runs: training, validation, checkpoint, resume, test."""
import json

import pytest
import torch

from nbn_mm.datasets import ClassCounts, count_classes
from nbn_mm.engine.hooks import ClassCountsHook
from nbn_mm.engine.hooks.class_counts_hook import check_num_classes, describe_difference, num_classes_fields
from nbn_mm.utils.hosts import host_error

pytestmark = pytest.mark.skipif(host_error('mmpretrain') is not None, reason='mmpretrain does not import')
if host_error('mmpretrain') is None:
    from tiny_classification import COUNTS, messages, runner


def hook_of(run):
    return next(hook for hook in run.hooks if isinstance(hook, ClassCountsHook))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """One epoch of training with its checkpoint, and what was logged."""
    folder = tmp_path_factory.mktemp('trained')
    run = runner(folder, epochs=1)
    logged = messages(run)
    run.train()
    return run, folder / 'epoch_1.pth', logged


def without_counts(path, folder):
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint['meta']['class_counts']
    torch.save(checkpoint, folder / 'stock.pth')
    return str(folder / 'stock.pth')


def test_training_hands_over_and_logs(trained):
    run, _, logged = trained
    record = count_classes(run.train_dataloader.dataset)
    assert record.images == COUNTS
    assert run.model.head.loss_module.class_counts == record
    assert run.val_evaluator.metrics[0].record == record
    line, = [m for m in logged if m.startswith('Class counts from the training set')]
    gini = f'Gini {record.gini:.4f}'
    for part in ('3 classes', '36 images', 'imbalance factor 8', gini, 'medium 1, few 2', record.hash):
        assert part in line


def test_checkpoint_holds_the_record_as_plain_data(trained, tmp_path):
    _, path, _ = trained
    checkpoint = torch.load(path, weights_only=False)
    record = checkpoint['meta']['class_counts']
    assert ClassCounts.from_dict(record).images == COUNTS
    torch.save(dict(meta=dict(class_counts=record)), tmp_path / 'record.pth')
    assert torch.load(tmp_path / 'record.pth', weights_only=True)['meta']['class_counts'] == record
    assert not [key for key in checkpoint['state_dict'] if 'loss' in key]


def test_test_takes_the_checkpoint_not_the_training_set(trained, tmp_path):
    _, path, _ = trained
    run = runner(tmp_path, counts=(1, 1, 1), load_from=str(path))
    assert run.test()['counts/images'] == sum(COUNTS)
    assert run.model.head.loss_module.class_counts.images == COUNTS


def test_test_prefers_the_option(trained, tmp_path):
    _, path, _ = trained
    run = runner(tmp_path, load_from=str(path), hooks=dict(
        class_counts=dict(type='ClassCountsHook', class_counts=[5, 5, 5])))
    assert run.test()['counts/images'] == 15


def test_stock_checkpoint_takes_the_training_set_of_the_config(trained, tmp_path):
    _, path, _ = trained
    run = runner(tmp_path, counts=(6, 2, 2), load_from=without_counts(path, tmp_path))
    assert run.test()['counts/images'] == 10
    assert isinstance(run._train_dataloader, dict), 'only the data set was built'


def test_val_alone(trained, tmp_path):
    _, path, _ = trained
    assert runner(tmp_path, load_from=str(path)).val()['counts/images'] == sum(COUNTS)


def test_no_counts_anywhere_is_an_error(trained, tmp_path):
    _, path, _ = trained
    run = runner(tmp_path, load_from=without_counts(path, tmp_path), train_dataloader=None, train_cfg=None,
                 optim_wrapper=None)
    with pytest.raises(RuntimeError, match='CountTakingMetric need class counts, but neither the checkpoint nor'):
        run.test()


def test_a_test_without_consumers_needs_no_counts(trained, tmp_path):
    """Balanced Softmax needs counts in training alone; accuracy needs none."""
    _, path, _ = trained
    run = runner(tmp_path, metric='Accuracy', load_from=without_counts(path, tmp_path), train_dataloader=None,
                 train_cfg=None, optim_wrapper=None)
    assert 'accuracy/top1' in run.test()
    assert hook_of(run).record is None


def test_resume(trained, tmp_path):
    _, path, _ = trained
    run = runner(tmp_path, load_from=str(path), resume=True)
    run.train()
    assert run.epoch == 2 and hook_of(run).record.images == COUNTS


def test_resume_with_other_counts_is_an_error(trained, tmp_path):
    _, path, _ = trained
    run = runner(tmp_path, counts=(24, 8, 3), load_from=str(path), resume=True)
    with pytest.raises(ValueError, match=r'resume: .*the first is class 1 \(dog\), 9 in the checkpoint, 8 now'):
        run.train()


def test_load_from_takes_the_new_set(trained, tmp_path):
    _, path, _ = trained
    run = runner(tmp_path, epochs=1, counts=(20, 8, 3), load_from=str(path))
    run.train()
    assert run.model.head.loss_module.class_counts.images == (20, 8, 3)
    assert torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['meta']['class_counts']['images'] == [20, 8, 3]


@pytest.mark.parametrize('as_file', [False, True])
def test_option_overrides_the_training_set(tmp_path, as_file):
    counts = dict(dog=7, cat=70, eel=1)
    if as_file:
        (tmp_path / 'counts.json').write_text(json.dumps(counts))
        counts = str(tmp_path / 'counts.json')
    run = runner(tmp_path, epochs=1, hooks=dict(class_counts=dict(type='ClassCountsHook', class_counts=counts)))
    run.train()
    assert hook_of(run).record.images == (70, 7, 1) and hook_of(run).record.classes == ('cat', 'dog', 'eel')


def test_option_of_a_wrong_length(tmp_path):
    run = runner(tmp_path, hooks=dict(class_counts=dict(type='ClassCountsHook', class_counts=[5, 5])))
    with pytest.raises(ValueError, match='`class_counts` of ClassCountsHook.*2 classes.*num_classes=3'):
        run.train()


def test_number_of_classes_of_the_model(trained, tmp_path):
    run = runner(tmp_path, head=dict(num_classes=4))
    with pytest.raises(ValueError, match='model.head.num_classes=4, but the class counts from the training set have 3'):
        run.train()


def test_zero_count_class_stops_before_training(tmp_path):
    run = runner(tmp_path, counts=(24, 0, 3))
    with pytest.raises(ValueError, match='1 of 3 classes: dog'):
        run.train()
    assert run.iter == 0


@pytest.mark.parametrize('where', ['train', 'train with counts given', 'val'])
def test_labels_outside_of_the_classes_stop_before_training(tmp_path, where):
    loader = dict(batch_size=8, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
                  dataset=dict(type='TinyLongTail', counts=(4, 4, 4, 4), pipeline=[dict(type='PackInputs')]))
    given = dict(default_hooks=dict(class_counts=dict(type='ClassCountsHook', class_counts=[4, 4, 4])))
    run = runner(tmp_path, **{f'{where[:5].strip()}_dataloader': loader}, **(given if 'given' in where else {}))
    with pytest.raises(ValueError, match=r'TinyLongTail: image 12 has label 3, outside of the 3 classes'):
        run.train()
    assert run.iter == 0


def test_without_the_hook_the_loss_shows_its_line(tmp_path):
    run = runner(tmp_path, default_hooks=dict())
    with pytest.raises(RuntimeError, match=r"default_hooks = dict\(class_counts=dict\(type='ClassCountsHook'\)\)"):
        run.train()


def test_with_averaged_weights(tmp_path):
    """mmengine copies the model before counts arrive, and swaps parameters in and out around validation."""
    run = runner(tmp_path, custom_hooks=[dict(type='EMAHook', momentum=0.1)])
    run.train()
    assert run.model.head.loss_module.class_counts.images == COUNTS
    checkpoint = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)
    assert checkpoint['meta']['class_counts']['images'] == list(COUNTS) and 'ema_state_dict' in checkpoint
    again = runner(tmp_path / 'test', load_from=str(tmp_path / 'epoch_2.pth'))
    assert again.test()['counts/images'] == sum(COUNTS)


def test_repeated_training_set(tmp_path):
    run = runner(tmp_path, epochs=1, train_dataloader=dict(
        batch_size=8, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'), dataset=dict(type='RepeatDataset', times=2, dataset=dict(
            type='TinyLongTail', pipeline=[dict(type='PackInputs')]))))
    run.train()
    assert hook_of(run).record.images == COUNTS


class _Part(torch.nn.Module):

    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)


def test_fields_of_detectors():
    def head(number):
        return _Part(num_classes=number)

    cascade = _Part(roi_head=_Part(bbox_head=torch.nn.ModuleList([head(3), head(4)]), mask_head=head(3)))
    assert list(num_classes_fields(cascade)) == [
        ('model.roi_head.bbox_head[0].num_classes', 3), ('model.roi_head.bbox_head[1].num_classes', 4),
        ('model.roi_head.mask_head.num_classes', 3)]
    agnostic = _Part(bbox_head=head(3), mask_head=_Part(num_classes=80, class_agnostic=True))
    assert list(num_classes_fields(_Part(roi_head=agnostic))) == [('model.roi_head.bbox_head.num_classes', 3)]
    assert list(num_classes_fields(_Part(bbox_head=head(5)))) == [('model.bbox_head.num_classes', 5)]
    with pytest.raises(ValueError, match=r'model.roi_head.bbox_head\[1\].num_classes=4, but .* have 3 classes'):
        check_num_classes(cascade, ClassCounts('abc', [1, 2, 3]), 'the training set')


def test_differences_in_words():
    base = ClassCounts('abc', [1, 2, 3], [4, 5, 6])
    assert describe_difference(base, ClassCounts.from_dict(base.to_dict())) is None
    assert describe_difference(base, ClassCounts('ab', [1, 2])) == '3 classes in the checkpoint, 2 now'
    other = ClassCounts('axc', [1, 2, 3], [4, 5, 6])
    assert describe_difference(base, other) == "class 1 is 'b' in the checkpoint, 'x' now"
    other = ClassCounts('abc', [1, 2, 3], [4, 5, 7])
    assert 'class 2 (c), 6 in the checkpoint, 7 now' in describe_difference(base, other)
    counted = [ClassCounts('ab', [2, 1], [3, 1], total) for total in (3, 2, None)]
    assert describe_difference(*counted[:2]) == '3 images with an object in the checkpoint, 2 now'
    assert describe_difference(*counted[1:]) is None, 'of a checkpoint from before there was this number'
    assert 'instances are counted in the checkpoint, but now they are not' == describe_difference(
        base, ClassCounts('abc', [1, 2, 3]))


def test_bad_thresholds():
    with pytest.raises(ValueError, match='few=50 and many=10'):
        ClassCountsHook(few=50, many=10)


def test_option_by_name_keeps_the_label_order_at_test(trained, tmp_path):
    hooks = dict(class_counts=dict(type='ClassCountsHook', class_counts=dict(eel=3, dog=9, cat=24)))
    run = runner(tmp_path, hooks=hooks, load_from=str(trained[1]))
    run.test()
    assert hook_of(run).record.classes == ('cat', 'dog', 'eel') and hook_of(run).record.images == COUNTS
    alone = runner(tmp_path / 'alone', hooks=hooks, load_from=without_counts(trained[1], tmp_path))
    alone.test()
    assert hook_of(alone).record.images == COUNTS, 'the names of the test set'


def test_option_by_name_where_nobody_names_the_classes():
    hook = ClassCountsHook(class_counts=dict(dog=5, cat=500))
    with pytest.raises(ValueError, match='names its classes, but neither the data set nor the checkpoint'):
        hook._find(None, [], object())
