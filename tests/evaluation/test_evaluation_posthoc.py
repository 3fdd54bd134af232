"""Post-hoc calibration of logits: values, rankings that change, files and tables."""
import numpy as np
import pytest
import torch
from references import posthoc as reference

from nbn_mm.evaluation.functional.posthoc import (
    AffineMap,
    LogitMoments,
    logit_adjustment,
    logit_normalization,
    logit_weighting,
    tau_normalization,
)
from nbn_mm.evaluation.functional.posthoc_methods import (
    PosthocFacts,
    posthoc_map,
    posthoc_markdown,
    posthoc_name,
    posthoc_table,
)
from nbn_mm.evaluation.functional.posthoc_report import write_report
from nbn_mm.evaluation.functional.saved_logits import SavedLogits, read_logits, write_logits

COUNTS = [500, 90, 30, 4]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def saved(rng, split='test', rows=40, **parts):
    classes = np.array(list('abcd'))
    logits = rng.normal(size=(rows, 4)).astype(np.float32) * [2, 1, 1.5, .5] + [2, 1, 0, -1]
    return SavedLogits(logits.astype(np.float32), rng.integers(0, 4, rows), classes, np.array(COUNTS), split, **parts)


@pytest.mark.parametrize('tau', [0., .5, 1., 2.])
def test_logit_adjustment(rng, tau):
    logits = rng.normal(size=(9, 4))
    np.testing.assert_allclose(logit_adjustment(COUNTS, tau)(torch.tensor(logits)),
                               reference.adjusted(logits.tolist(), COUNTS, tau), rtol=1e-12)


def test_logn_from_parts_of_the_training_set(rng):
    train, logits = rng.normal(size=(50, 4)) * [3, 1, 2, .5] + [100, 1, -4, 0], rng.normal(size=(9, 4))
    moments = LogitMoments()
    for part in np.split(train, [0, 1, 20, 20, 43]):
        moments.update(torch.tensor(part))
    assert moments.count == 50
    np.testing.assert_allclose(logit_normalization(moments.mean, moments.std)(torch.tensor(logits)),
                               reference.log_n(logits.tolist(), train.tolist()), rtol=1e-10)


@pytest.mark.parametrize('tau', [0., .7, 1.])
def test_tau_norm_equals_scaled_weights(rng, tau):
    features, bias = rng.normal(size=(9, 5)), rng.normal(size=4)
    weight = rng.normal(size=(4, 5)) * [[3], [1], [.5], [.1]]
    logits = torch.tensor(features @ weight.T + bias)
    expected = np.array(reference.tau_normalized(features.tolist(), weight.tolist(), tau))
    np.testing.assert_allclose(tau_normalization(weight, bias, tau)(logits), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(tau_normalization(weight, bias, tau, keep_bias=True)(logits), expected + bias, rtol=1e-9)


def test_iif(rng):
    logits = rng.normal(size=(9, 4))
    affine = posthoc_map('iif', PosthocFacts(COUNTS))
    np.testing.assert_allclose(affine(torch.tensor(logits)), reference.iif(logits.tolist(), COUNTS), rtol=1e-12)


@pytest.mark.parametrize('method', ['logit_adjustment', 'logn', 'tau_norm', 'iif'])
def test_each_method_turns_a_ranking_towards_the_tail(method):
    """An image of the tail class that the trained network gives to the head class."""
    logits = torch.tensor([[2.5, -5., -5., 2.0]])
    facts = PosthocFacts(COUNTS, weight=torch.diag(torch.tensor([3., 1., 1., .5])), bias=torch.zeros(4),
                         mean=torch.tensor([1.5, 0., 0., -1.]), std=torch.tensor([2., 1., 1., 1.]))
    assert logits.argmax() == 0
    affine = posthoc_map(method, facts)
    assert affine(logits).argmax() == 3 and not affine.keeps_order


@pytest.mark.parametrize('affine', [
    logit_adjustment(COUNTS, 0), logit_adjustment([7] * 4), logit_normalization([3.] * 4, [.5] * 4),
    tau_normalization(np.eye(4) * 2, np.ones(4)), tau_normalization(np.eye(4) * [[1], [2], [3], [4]], None, 0),
    tau_normalization(np.eye(4) * [[1], [2], [3], [4]], np.arange(4.), 0, keep_bias=True), logit_weighting([2.] * 4)])
def test_order_is_kept(rng, affine):
    logits = torch.tensor(rng.normal(size=(50, 4)))
    assert affine.keeps_order
    assert torch.equal(affine(logits).argsort(1), logits.argsort(1))


@pytest.mark.parametrize('affine', [
    logit_adjustment(COUNTS, 1), tau_normalization(np.eye(4), np.arange(4.), 1), logit_weighting([0.] * 4),
    AffineMap(-torch.ones(4), torch.zeros(4))])
def test_order_is_not_kept(affine):
    assert not affine.keeps_order


def test_columns_that_stay(rng):
    logits = torch.tensor(rng.normal(size=(5, 6)))
    affine = logit_normalization([3., 1, 2, 0], [.5, 1, 2, 3]).with_columns(2)
    assert torch.equal(affine(logits)[:, 4:], logits[:, 4:])
    assert torch.equal(affine(logits)[:, :4], logit_normalization([3., 1, 2, 0], [.5, 1, 2, 3])(logits[:, :4]))


@pytest.mark.parametrize('call, message', [
    (lambda: logit_adjustment([3, 0, 2]), 'class 1 has the count 0'),
    (lambda: logit_adjustment(COUNTS, -1), 'tau=-1 must be a number >= 0'),
    (lambda: logit_adjustment(COUNTS, float('nan')), 'tau=nan'),
    (lambda: logit_normalization([1., 2.], [1., 0.]), 'class 1 has the deviation 0'),
    (lambda: tau_normalization(np.zeros((2, 3))), 'class 0 is 0'),
    (lambda: tau_normalization(np.zeros(3)), r'\(C, D\), got \(3,\)'),
    (lambda: logit_weighting([1., -2.]), 'class 1 is negative'),
    (lambda: AffineMap(torch.ones(2), torch.tensor([0., float('inf')])), 'shift of class 1 is inf'),
    (lambda: AffineMap(torch.ones(2), torch.ones(3)), r'shapes \(2,\) and \(3,\)'),
    (lambda: logit_adjustment(COUNTS)(torch.ones(2, 3)), r'4 classes got logits of shape \(2, 3\)'),
    (lambda: posthoc_map('magic', PosthocFacts(COUNTS)), "'magic' is unknown"),
    (lambda: posthoc_map('logn', PosthocFacts(COUNTS)), '--split train'),
    (lambda: posthoc_map('tau_norm', PosthocFacts(COUNTS)), 'needs the weight of a linear classifier'),
    (lambda: posthoc_map('iif', PosthocFacts(COUNTS), tau=1.), "'iif' has no tau"),
    (lambda: posthoc_map('iif', PosthocFacts(COUNTS), iif='soft'), "'soft' must be one of"),
    (lambda: posthoc_map('iif', PosthocFacts()), 'needs the class counts')])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_names():
    assert posthoc_name('logit_adjustment') == 'logit_adjustment, tau 1'
    assert posthoc_name('tau_norm', 0.5, keep_bias=True) == 'tau_norm, tau 0.5, with bias'
    assert [posthoc_name('iif', iif=kind) for kind in ('raw', 'smooth')] == ['iif', 'iif, smooth']
    assert posthoc_name('logn') == 'logn'


def test_file_and_table(rng, tmp_path):
    test = saved(rng, weight=rng.normal(size=(4, 5)).astype(np.float32), bias=np.ones(4, np.float32))
    write_logits(test, tmp_path / 'deep' / 'test.npz')
    again = read_logits(tmp_path / 'deep' / 'test.npz')
    assert again.split == 'test' and again.features is None
    for name in ('logits', 'labels', 'classes', 'counts', 'weight', 'bias'):
        assert (getattr(again, name) == getattr(test, name)).all()
    facts = PosthocFacts.of_saved(again, saved(rng, 'train'))
    maps = dict(first=logit_adjustment(COUNTS, 0), second=posthoc_map('logn', facts))
    rows = posthoc_table(again, maps)
    assert [row['method'] for row in rows] == ['as trained', 'first', 'second']
    assert [row['keeps_order'] for row in rows] == [True, True, False]
    assert rows[0] | dict(method='first') == rows[1]
    predicted = np.array(reference.log_n(test.logits.tolist(), saved_train_logits())).argmax(1)
    assert rows[2]['all'] == pytest.approx(100 * (predicted == test.labels).mean())
    tail = test.labels == 3
    assert rows[2]['few'] == pytest.approx(100 * (predicted == 3)[tail].mean())
    table = posthoc_markdown(rows)
    assert table.splitlines()[0] == '| Method | All | Many | Medium | Few | Harmonic mean |'
    assert len(table.splitlines()) == 5
    for name in ('t.md', 't.csv', 't.json'):
        write_report(rows, tmp_path / name)
    assert (tmp_path / 't.md').read_text() == table + '\n'
    assert (tmp_path / 't.csv').read_text().splitlines()[1].startswith(f"as trained,{rows[0]['all']:.4f},")
    with pytest.raises(ValueError, match="'t.txt' must end in one of"):
        write_report(rows, 't.txt')


def saved_train_logits():
    """The training logits of test_file_and_table, drawn again."""
    rng = np.random.default_rng(0)
    saved(rng, weight=rng.normal(size=(4, 5)).astype(np.float32))
    return saved(rng, 'train').logits.tolist()


def test_bad_files(rng, tmp_path):
    test = saved(rng)
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        write_logits(test, tmp_path / 'a.npy')
    with pytest.raises(FileNotFoundError, match='save_logits.py writes'):
        read_logits(tmp_path / 'gone.npz')
    (tmp_path / 'text.npz').write_text('no archive')
    with pytest.raises(ValueError, match='is no file of saved logits'):
        read_logits(tmp_path / 'text.npz')
    np.savez(tmp_path / 'other.npz', x=np.ones(3))
    with pytest.raises(ValueError, match=r"it holds \['x'\]"):
        read_logits(tmp_path / 'other.npz')
    with pytest.raises(ValueError, match='are those of the test set'):
        PosthocFacts.of_saved(test, test)
    others = SavedLogits(test.logits, test.labels, test.classes[::-1], test.counts, 'train')
    with pytest.raises(ValueError, match='other classes'):
        PosthocFacts.of_saved(test, others)
    parts = dict(logits=test.logits, labels=test.labels, classes=test.classes, counts=test.counts, split='test')
    bad = test.logits.copy()
    bad[2, 1] = np.nan
    for change, message in ((dict(logits=bad), 'image 2 are not finite'), (dict(labels=test.labels + 1), 'outside'),
                            (dict(counts=test.counts[1:]), 'counts have the shape'), (dict(logits=bad[0]), r'\(N, C\)'),
                            (dict(weight=np.ones((3, 2))), 'weight have the shape')):
        with pytest.raises(ValueError, match=message):
            SavedLogits(**parts | change)
