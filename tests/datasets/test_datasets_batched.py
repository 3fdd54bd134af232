"""The batched pipeline: its images against the per-image transforms', its errors, and that it waits for nothing."""
import pickle

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from references import batched_pipeline as reference
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from nbn_mm.datasets.transforms import BatchedPipeline, CIFARAutoAugment, batched_geometry, batched_operations
from nbn_mm.utils.hosts import host_error

RECIPE = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='CIFARAutoAugment'),
    dict(type='CIFARCutout', size=16),
    dict(type='PackInputs'),
]
# operations whose result, or whose number of elements, the host must wait for
WAITING = ('_local_scalar_dense', 'nonzero', 'masked_select', 'bincount', 'unique', 'equal.default')


def _images(number, height=32, width=32, seed=0):
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.normal(128, 60, (number, 3, 6, 6)))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode='bicubic').clamp_(0, 255).to(torch.uint8)
    smooth[:number // 8] = torch.from_numpy(random.integers(0, 256, smooth[:number // 8].shape))
    return smooth


def _recipe(size, padding, cut):
    return [dict(RECIPE[0], crop_size=size, padding=padding), *RECIPE[1:3], dict(RECIPE[3], size=cut)]


@pytest.mark.parametrize('number, size, padding, cut', [
    (300, 32, 4, 16), (150, 64, 8, 32), (1, 32, 4, 16), (40, 24, 0, 7)])
def test_recipe_equals_pillow_image_by_image(number, size, padding, cut):
    pipeline, images = BatchedPipeline(_recipe(size, padding, cut)), _images(number, size, size)
    before = images.clone()
    plan = pipeline.draw(np.random.default_rng(1), number, size, size)
    got = pipeline.apply(images, plan)
    want = reference.recipe(images.numpy(), plan, pipeline.transforms[1].steps(plan.draws[1]), size, padding, cut)
    assert got.dtype == torch.uint8 and got.is_contiguous() and np.array_equal(got, want)
    assert torch.equal(images, before)


@pytest.mark.skipif(host_error('mmpretrain') is not None, reason='needs mmpretrain')
@pytest.mark.parametrize('crop', [
    dict(crop_size=32, padding=4), dict(crop_size=(20, 28), padding=(1, 5), pad_val=(7, 7, 7)),
    dict(crop_size=30),
    dict(crop_size=32, padding=(1, 2, 3, 4), pad_val=(1, 2, 3)),
    dict(crop_size=40, pad_if_needed=True, pad_val=(9, 0, 0)),
    dict(crop_size=(50, 20), padding=2), dict(crop_size=(41, 36), padding=1, pad_if_needed=True)], ids=str)
@pytest.mark.parametrize('shape', [(32, 32), (31, 40)], ids=str)
def test_hosts_own_transforms_with_the_same_draws(crop, shape, monkeypatch):
    """mmpretrain's RandomCrop, mmcv's RandomFlip and our per-image transforms; only their draws are replaced."""
    import mmpretrain.datasets  # noqa: F401, the import registers
    configs = [dict(type='RandomCrop', **crop), dict(type='RandomFlip', prob=0.5),
               dict(type='CIFARAutoAugment', fill=[9, 99, 200]), dict(type='CIFARCutout', size=11)]
    pipeline, images = BatchedPipeline(configs), _images(40, *shape)
    plan = pipeline.draw(np.random.default_rng(2), 40, *shape)
    got = pipeline.apply(images, plan)
    assert tuple(got.shape[2:]) == pipeline.output_size(*shape)
    crops, policies, cuts = plan.draws
    steps = pipeline.transforms[1].steps(policies)
    host = [TRANSFORMS.build(dict(config, type=f'{scope}{config["type"]}')) for config, scope in
            zip(configs, ('mmpretrain.', '', '', ''), strict=True)]
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        offset = crops['top'][i], crops['left'][i]
        monkeypatch.setattr(host[0], 'rand_crop_params', lambda _, offset=offset: (*offset, *got.shape[2:]))
        monkeypatch.setattr(host[1], '_choose_direction', lambda i=i: 'horizontal' if crops['flip'][i] else None)
        monkeypatch.setattr(host[2], 'draw', lambda i=i: steps[i])
        monkeypatch.setattr(host[3], 'draw', lambda h, w, i=i: (cuts['row'][i], cuts['column'][i]))
        results = dict(img=image)
        for transform in host:
            results = transform(results)
        assert np.array_equal(results['img'].transpose(2, 0, 1), got[i]), (i, steps[i])


def test_a_seed_gives_the_same_plan_and_images():
    images, pipeline = _images(64), BatchedPipeline(RECIPE)
    plans = [pipeline.draw(np.random.default_rng(5), 64, 32, 32) for _ in range(2)]
    other = pipeline.draw(np.random.default_rng(6), 64, 32, 32)
    assert np.array_equal(plans[0].buffer, plans[1].buffer) and not np.array_equal(plans[0].buffer, other.buffer)
    assert torch.equal(pipeline(images, np.random.default_rng(5)), pipeline.apply(images, plans[0]))
    again = BatchedPipeline(RECIPE).apply(images, pickle.loads(pickle.dumps(plans[0])))
    assert torch.equal(again, pipeline.apply(images, plans[0]))
    assert not torch.equal(again, pipeline.apply(images, other))


def test_a_generator_goes_on_where_its_state_was_taken():
    pipeline, generator = BatchedPipeline(RECIPE), np.random.default_rng(0)
    pipeline.draw(generator, 32, 32, 32)
    state = generator.bit_generator.state
    want = pipeline.draw(generator, 32, 32, 32)
    resumed = np.random.default_rng(9)
    resumed.bit_generator.state = state
    assert np.array_equal(pipeline.draw(resumed, 32, 32, 32).buffer, want.buffer)


class _Recorder(TorchDispatchMode):
    """Names of all tensor operations."""

    def __enter__(self):
        self.names = []
        return super().__enter__()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        if 'index.Tensor' in self.names[-1]:
            assert all(index is None or index.dtype != torch.bool for index in args[1])
        return function(*args, **kwargs or {})


def test_nothing_waits_for_the_device_and_operations_do_not_grow_with_the_batch():
    pipeline, counts = BatchedPipeline(RECIPE), []
    pipeline(_images(600), np.random.default_rng(0))  # makes the tables
    for number in (600, 1200):
        plan = pipeline.draw(np.random.default_rng(0), number, 32, 32)
        assert all((plan.draws[1]['counts_0'] > 0) & (plan.draws[1]['counts_0'] < number))
        images = _images(number)
        with _Recorder() as recorder:
            pipeline.apply(images, plan)
        assert not [name for name in recorder.names if any(word in name for word in WAITING)]
        assert sum('lift_fresh' in name for name in recorder.names) == 1, 'more than one array reaches the device'
        counts.append(len(recorder.names))
    assert counts[0] == counts[1]


@pytest.mark.parametrize('word, call', [
    ('_local_scalar_dense', lambda x: x.sum().item()), ('nonzero', lambda x: x.nonzero()),
    ('equal.default', lambda x: torch.equal(x, x))])
def test_the_recorder_sees_what_waits(word, call):
    with _Recorder() as recorder:
        call(torch.ones(3))
    assert word in WAITING and any(word in name for name in recorder.names)
    with pytest.raises(AssertionError), _Recorder():
        torch.ones(3)[torch.ones(3, dtype=torch.bool)]


def test_all_operations_stay_on_the_device_of_the_images():
    """On a GPU without memory or arithmetic: mixed devices, and shapes or values that depend on data, are errors."""
    caches = batched_operations._bank, batched_geometry._row_starts, batched_geometry._outside
    for cache in caches:
        cache.cache_clear()
    pipeline = BatchedPipeline(RECIPE)
    plan = pipeline.draw(np.random.default_rng(0), 300, 32, 32)
    try:
        with FakeTensorMode():
            buffer = torch.empty(len(plan.buffer), dtype=torch.int64, device='cuda')
            got = pipeline._run(torch.empty(300, 3, 32, 32, dtype=torch.uint8, device='cuda'), plan, buffer)
            assert got.is_cuda and got.shape == (300, 3, 32, 32) and got.dtype == torch.uint8
            with pytest.raises(DataDependentOutputException):
                got.sum().item()
    finally:
        for cache in caches:
            cache.cache_clear()


@pytest.mark.parametrize('number', [1, 7, 200])
def test_plans_for_capture_have_the_same_shapes_and_give_the_same_images(number):
    images, plain, pipeline = _images(number), BatchedPipeline(RECIPE), BatchedPipeline(RECIPE, capture=True)
    plans = [pipeline.draw(np.random.default_rng(seed), number, 32, 32) for seed in range(30)]
    assert len({plan.shapes for plan in plans}) == 1
    assert number == 1 or len({plain.draw(np.random.default_rng(seed), number, 32, 32).shapes for seed in range(9)}) > 1
    for seed, plan in enumerate(plans):
        assert torch.equal(pipeline.apply(images, plan), plain(images, np.random.default_rng(seed)))


def test_a_draw_that_exceeds_the_capacities_is_applied_all_the_same():
    pipeline = BatchedPipeline(RECIPE, capture=True)
    usual = pipeline.draw(np.random.default_rng(0), 300, 32, 32)
    augment = pipeline.transforms[1]
    augment.probabilities = np.ones_like(augment.probabilities)  # many more operations than the chances say
    plan, images = pipeline.draw(np.random.default_rng(0), 300, 32, 32), _images(300)
    assert plan.shapes != usual.shapes
    want = reference.recipe(images.numpy(), plan, augment.steps(plan.draws[1]))
    assert np.array_equal(pipeline.apply(images, plan), want)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_captured_graph_gives_the_same_images():
    images, plain, pipeline = _images(256), BatchedPipeline(RECIPE), BatchedPipeline(RECIPE, capture=True)
    on_gpu = images.cuda()
    results = [pipeline(on_gpu, np.random.default_rng(seed)) for seed in range(4)]
    assert len(pipeline._captured) == 1
    for seed, result in enumerate(results):
        assert torch.equal(result.cpu(), plain(images, np.random.default_rng(seed)))
    assert pickle.loads(pickle.dumps(pipeline))._captured == {}
    augment = pipeline.transforms[1]
    augment.probabilities = np.ones_like(augment.probabilities)
    plan = pipeline.draw(np.random.default_rng(0), 256, 32, 32)
    assert torch.equal(pipeline.apply(on_gpu, plan).cpu(), plain.apply(images, plan))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_gives_the_same_images_without_waiting():
    images, pipeline = _images(256), BatchedPipeline(RECIPE)
    on_gpu = images.cuda()
    pipeline(on_gpu, np.random.default_rng(0))  # makes the tables
    plan = pipeline.draw(np.random.default_rng(1), 256, 32, 32)
    torch.cuda.set_sync_debug_mode('error')
    try:
        got = pipeline.apply(on_gpu, plan)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert torch.equal(got.cpu(), pipeline.apply(images, plan))


@pytest.mark.parametrize('configs', [[], [dict(type='PackInputs')], [dict(type='mmpretrain.PackInputs')]], ids=str)
def test_evaluation_gives_the_images_themselves(configs):
    images = _images(5)
    assert BatchedPipeline(configs)(images, np.random.default_rng(0)) is images


def test_an_empty_batch():
    assert BatchedPipeline(RECIPE)(_images(0), np.random.default_rng(0)).shape == (0, 3, 32, 32)


def test_each_transform_alone_leaves_the_input():
    for config in RECIPE[:-1]:
        images = _images(64)
        before = images.clone()
        got = BatchedPipeline([config])(images, np.random.default_rng(0))
        assert torch.equal(images, before) and not torch.equal(got, before)


def test_classes_and_scopes_are_accepted_as_types():
    pipeline = BatchedPipeline([dict(type='mmcv.RandomFlip', prob=1.0), dict(type=CIFARAutoAugment, fill=[1, 2, 3])])
    assert pipeline.transforms[0].prob == 1 and pipeline.transforms[1].operations.fill == (1, 2, 3)
    images = _images(4)
    flipped = BatchedPipeline([dict(type='RandomFlip', prob=1.0)])(images, np.random.default_rng(0))
    assert torch.equal(flipped, images.flip(3))


@pytest.mark.parametrize('configs, match', [
    ([dict(type='RandomResizedCrop', scale=64)], "'RandomResizedCrop' has no batched counterpart.*'CIFARAutoAugment'"),
    ([dict(type='PackInputs'), RECIPE[0]], "'PackInputs' has no batched counterpart"),
    ([dict(size=3)], "'None' has no batched"),
    ([dict(type='PackInputs', meta_keys=['x'])], "PackInputs: the option 'meta_keys'"),
    ([dict(type='RandomFlip', prob=0.5, swap_seg_labels=[1])],
     "RandomFlip: the option 'swap_seg_labels'.*'direction', 'prob'"),
    ([dict(type='RandomFlip', prob=0.5, direction='vertical')], "direction='vertical'"),
    ([dict(type='RandomFlip', prob=[0.5], direction=['horizontal'])], 'direction='),
    ([dict(type='RandomFlip', prob=1.5)], 'prob=1.5'),
    ([dict(type='RandomFlip')], "RandomFlip: 'prob' is missing"),
    ([dict(type='RandomCrop')], "RandomCrop: 'crop_size' is missing"),
    ([dict(type='RandomCrop', crop_size=0)], 'crop_size=0'),
    ([dict(type='RandomCrop', crop_size=(3, 4, 5))], 'crop_size='),
    ([dict(type='RandomCrop', crop_size=3, padding=(1, 2, 3))], 'padding='),
    ([dict(type='RandomCrop', crop_size=3, padding=-1)], 'padding=-1'),
    ([dict(type='RandomCrop', crop_size=3, pad_val=300)], 'pad_val=300'),
    ([dict(type='RandomCrop', crop_size=3, pad_val=7)], r'pad_val=7 pads the first .*pad_val=\(7, 7, 7\)'),
    ([dict(type='RandomCrop', crop_size=3, padding=1, padding_mode='edge')], "padding_mode='edge'"),
    ([dict(type='CIFARAutoAugment', policy='x')], "CIFARAutoAugment: the option 'policy'"),
    ([dict(type='CIFARAutoAugment', fill=[1])], 'fill='),
    ([dict(type='CIFARCutout', size=0)], 'size=0'),
])
def test_what_is_refused(configs, match):
    with pytest.raises(ValueError, match=match):
        BatchedPipeline(configs)


def test_wrong_images():
    pipeline = BatchedPipeline(RECIPE)
    plan = pipeline.draw(np.random.default_rng(0), 4, 32, 32)
    with pytest.raises(TypeError, match='needs uint8 images, got torch.float32'):
        pipeline.apply(torch.zeros(4, 3, 32, 32), plan)
    for shape in ((4, 32, 32, 3), (5, 3, 32, 32), (4, 1, 32, 32), (4, 3, 32, 33)):
        with pytest.raises(ValueError, match=r'images of shape \(4, 3, 32, 32\), got \(' + str(shape[0])):
            pipeline.apply(torch.zeros(shape, dtype=torch.uint8), plan)
