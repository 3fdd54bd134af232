"""Reduced decoding against the hosts' own transforms, and against Pillow's reduced decoding."""
import copy
import io
import pickle
import warnings

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from photographs import photograph, write
from PIL import Image

import nbn_mm  # noqa: F401, the import registers
from nbn_mm.datasets.transforms import JPEGImage, LoadReducedJPEG


def run(pipeline, path, scope, seed=0, **results):
    np.random.seed(seed)
    results = dict(img_path=path, **results)
    for step in pipeline:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            results = TRANSFORMS.build(dict(step, _scope_=scope))(results)
    return results


CROP = dict(scale=32, crop_ratio_range=(0.03, 1.0))
EDGE = dict(scale=48, edge='short')


def both(path, name, options, seed=0, scope='mmpretrain'):
    pytest.importorskip(scope, reason=f'compares with {scope}')
    host = run([dict(type='LoadImageFromFile'), dict(type=name, **options)], path, scope, seed)
    ours = run([dict(type='LoadReducedJPEG'), dict(type=f'Reduced{name}', **options)], path, scope, seed)
    return host, ours


def assert_same_keys(host, ours):
    assert set(host) == set(ours)
    for key in set(host) - {'img', 'gt_bboxes', 'gt_masks', 'homography_matrix'}:
        assert host[key] == ours[key], key


@pytest.mark.parametrize('case', ['RGB', 'L', 'CMYK', 'PNG', 'tiny'])
def test_without_reduction_the_picture_is_the_hosts(tmp_path, case):
    size = (9, 7) if case == 'tiny' else (60, 84)
    path = write(tmp_path / 'a.jpg', *size, mode=case if case in ('L', 'CMYK') else 'RGB',
                 format='PNG' if case == 'PNG' else 'JPEG')
    for name, options in (('RandomResizedCrop', CROP), ('ResizeEdge', EDGE)):
        for seed in range(4):
            host, ours = both(path, name, options, seed)
            assert np.array_equal(host['img'], ours['img'])
            assert_same_keys(host, ours)


@pytest.mark.parametrize('size', [(60, 84), (300, 420)])
def test_truncated_files_fail_where_the_hosts_do(tmp_path, size):
    path = tmp_path / 'a.jpg'
    content = (write(path, *size), path.read_bytes())[1]
    for length in (len(content) // 2, len(content) - 40, len(content) - 2):
        path.write_bytes(content[:length])
        try:
            host = run([dict(type='LoadImageFromFile')], str(path), 'mmpretrain')['img']
        except AssertionError:
            with pytest.raises(ValueError, match=r'a\.jpg.* cannot be decoded'):
                JPEGImage(path.read_bytes(), str(path)).decode((9, 9))
            continue
        assert np.array_equal(JPEGImage(path.read_bytes(), str(path)).decode(size), host)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_the_hosts(tmp_path, orientation):
    path = write(tmp_path / 'a.jpg', 60, 84, orientation=orientation)
    host, ours = both(path, 'ResizeEdge', dict(scale=50))
    assert np.array_equal(host['img'], ours['img']) and host['ori_shape'] == ours['ori_shape']
    path = write(tmp_path / 'b.jpg', 240, 336, orientation=orientation)  # reduced by 4
    host, ours = both(path, 'ResizeEdge', dict(scale=50))
    assert ours['img'].shape == host['img'].shape
    assert np.abs(host['img'].astype(int) - ours['img']).mean() < 12  # turned as the host's; noise is averaged away


def reduced_by_pillow(path, n):
    image = Image.open(path)
    image.draft('RGB', (image.width // n, image.height // n))
    return np.asarray(image.convert('RGB'))[..., ::-1]


@pytest.mark.parametrize('size, n', [((300, 420), 4), ((191, 300), 4), ((188, 300), 2), ((95, 300), 1),
                                     ((96, 300), 2), ((384, 385), 8), ((378, 400), 8), ((376, 400), 4)])
def test_edge_uses_the_largest_reduction_that_suffices(tmp_path, size, n):
    path = write(tmp_path / 'a.jpg', *size)
    host, ours = both(path, 'ResizeEdge', EDGE)
    small = reduced_by_pillow(path, n)
    assert small.shape[:2] == tuple(-(-side // n) for side in size)
    expected = cv2.resize(small, tuple(host['img'].shape[1::-1]))
    assert np.array_equal(ours['img'], expected)
    assert_same_keys(host, ours)
    assert np.array_equal(ours['img'], host['img']) == (n == 1)


def test_crop_uses_the_largest_reduction_that_suffices(tmp_path):
    pytest.importorskip('mmpretrain', reason='compares with mmpretrain')
    path = write(tmp_path / 'a.jpg', 300, 420)
    used, host_crop = set(), TRANSFORMS.build(dict(type='mmpretrain.RandomResizedCrop', **CROP))
    for seed in range(30):
        _, ours = both(path, 'RandomResizedCrop', CROP, seed)
        np.random.seed(seed)
        crop = host_crop.rand_crop_params(np.empty((300, 420, 3)))
        for n in (8, 4, 2, 1):  # the slow way: cut all of them, take the first that is large enough
            top, left, bottom, right = (round(edge / n) for edge in (crop[0], crop[1], crop[0] + crop[2],
                                                                     crop[1] + crop[3]))
            cut = reduced_by_pillow(path, n)[top:bottom, left:right]
            if min(cut.shape[:2]) >= 32:
                break
        used.add(n)
        assert np.array_equal(ours['img'], cv2.resize(cut, (32, 32)))
    assert {2, 4, 8} <= used


@pytest.mark.parametrize('size', [(80, 120), (800, 1203)])
@pytest.mark.parametrize('keep_ratio', [True, False])
def test_detection_has_the_hosts_geometry(tmp_path, size, keep_ratio):
    pytest.importorskip('mmdet', reason='compares with mmdet')
    path = write(tmp_path / 'a.jpg', *size)
    instances = [dict(bbox=[10, 12, 60, 70], bbox_label=1, ignore_flag=0,
                      mask=[[10.0, 12.0, 60.0, 12.0, 60.0, 70.0]])]
    annotations = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
    options = dict(scales=[(133, 90), (133, 70)], keep_ratio=keep_ratio)
    rest = [dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')]
    for seed in range(3):
        packed = [run([dict(type=load), annotations,
                       dict(type='RandomChoiceResize', resize_type=kind, **options), *rest],
                      path, 'mmdet', seed, instances=copy.deepcopy(instances), img_id=0)
                  for load, kind in (('LoadImageFromFile', 'Resize'), ('LoadReducedJPEG', 'ReducedResize'))]
        host, ours = (item['data_samples'] for item in packed)
        assert host.metainfo == ours.metainfo
        assert (host.gt_instances.bboxes.tensor == ours.gt_instances.bboxes.tensor).all()
        assert (host.gt_instances.masks.to_ndarray() == ours.gt_instances.masks.to_ndarray()).all()
        same = bool((packed[0]['inputs'] == packed[1]['inputs']).all())
        assert packed[0]['inputs'].shape == packed[1]['inputs'].shape and same == (size == (80, 120))


def test_not_a_picture(tmp_path):
    path = tmp_path / 'a.jpg'
    for content in (b'', b'no picture at all', b'\xff\xd8\xff\xe0'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r'a\.jpg.* is no picture that can be read'):
            LoadReducedJPEG()(dict(img_path=str(path)))
        assert LoadReducedJPEG(ignore_empty=True)(dict(img_path=str(path))) is None
    with pytest.raises(FileNotFoundError):
        LoadReducedJPEG()(dict(img_path=str(tmp_path / 'none.jpg')))
    assert LoadReducedJPEG(ignore_empty=True)(dict(img_path=str(tmp_path / 'none.jpg'))) is None


def test_a_header_without_a_picture(tmp_path):
    content = io.BytesIO()
    Image.fromarray(photograph(40, 40)).save(content, 'PNG')
    with pytest.raises(ValueError, match=r"'cut\.png' cannot be decoded"):
        JPEGImage(content.getvalue()[:60], 'cut.png')
    image = JPEGImage(content.getvalue(), 'a.png')
    image.shape = (40, 41, 3)
    with pytest.raises(ValueError, match=r'decodes to \(40, 40\), not to \(40, 41\)'):
        image.decode((8, 8))


def test_wrong_order_of_the_pipeline(tmp_path):
    path = write(tmp_path / 'a.jpg')
    loaded = LoadReducedJPEG()(dict(img_path=path))
    for use in (np.asarray, lambda image: image.dtype, lambda image: image.flags):
        with pytest.raises((TypeError, AttributeError), match='must be one that decodes, ReducedRandomResizedCrop'):
            use(loaded['img'])
    for scope, name, options in (('mmpretrain', 'ReducedRandomResizedCrop', CROP),
                                 ('mmpretrain', 'ReducedResizeEdge', EDGE),
                                 ('mmdet', 'ReducedResize', dict(scale=(20, 20)))):
        pytest.importorskip(scope, reason=f'a transform of {scope}')
        with pytest.raises(TypeError, match=f'replace LoadImageFromFile by LoadReducedJPEG, or {name} by {name[7:]}'):
            run([dict(type='LoadImageFromFile'), dict(type=name, **options)], path, scope)


def test_copies_and_repr(tmp_path):
    image = LoadReducedJPEG()(dict(img_path=write(tmp_path / 'a.jpg')))['img']
    for twin in (copy.copy(image), copy.deepcopy(image), pickle.loads(pickle.dumps(image))):
        assert np.array_equal(twin.decode((75, 100)), image.decode((75, 100))) and twin.shape == image.shape
    assert repr(LoadReducedJPEG(backend_args=dict(backend='local'))) == \
        "LoadReducedJPEG(ignore_empty=False, backend_args={'backend': 'local'})"
