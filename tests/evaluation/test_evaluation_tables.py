import json

import pytest

from nbn_mm.datasets.class_counts import ClassCounts
from nbn_mm.evaluation.functional import (
    check_summary_path,
    class_group_report,
    class_hits,
    format_class_group_report,
    parse_named_paths,
    per_class_table,
    read_class_csv,
    read_last_evaluation,
    summarize_runs,
    summary_csv,
    summary_markdown,
    write_class_csv,
    write_summary,
)

LABELS, RANKS = [0, 0, 1, 1], [0, 1, 0, 0]


def rows():
    hits = {k: class_hits(RANKS, LABELS, 3, k) for k in (1, 2)}
    return per_class_table(hits, [500, 50, 5], ['a, b', 'ö', 'c'])


def test_class_table_survives_csv(tmp_path):
    path = tmp_path / 'deep' / 'classes.csv'
    write_class_csv(rows(), path)
    assert path.read_text(encoding='utf-8').splitlines()[0] == 'index,class,train_images,group,test_images,top1,top2'
    assert read_class_csv(path) == rows()
    assert rows()[0] == {'index': 0, 'class': 'a, b', 'train_images': 500, 'group': 'many', 'test_images': 2,
                         'top1': 50.0, 'top2': 100.0}
    assert rows()[2]['top1'] is None and rows()[2]['group'] == 'few'


def test_class_table_refuses():
    with pytest.raises(ValueError, match=r'\[2, 3\]'):
        per_class_table({1: class_hits(RANKS, LABELS, 3)}, [5, 5], ['a', 'b', 'c'])
    with pytest.raises(ValueError, match='at least one k'):
        per_class_table({}, [5], ['a'])


def test_read_class_csv_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match='per_class_csv='):
        read_class_csv(tmp_path / 'no.csv')
    for name, text, message in (('empty', '', 'no per-class table'), ('other', 'a,b\n1,2\n', 'no per-class table'),
                                ('top', 'index,class,train_images,group,test_images\n0,a,1,few,1\n', 'top1'),
                                ('bad', 'index,class,train_images,group,test_images,top1\n0,a,x,few,1,5\n', 'damaged')):
        (tmp_path / f'{name}.csv').write_text(text)
        with pytest.raises(ValueError, match=message):
            read_class_csv(tmp_path / f'{name}.csv')


def test_class_group_report():
    report = class_group_report(ClassCounts(('cat', 'dog', 'emu'), (200, 20, 19)))
    assert report['groups'] == {'many': dict(classes=1, images=200), 'medium': dict(classes=1, images=20),
                                'few': dict(classes=1, images=19)}
    text = format_class_group_report(report)
    assert '3 classes, 239 training images, imbalance factor 10.5' in text
    assert 'medium (20 to 100 images a class): 1 classes, 20 images' in text
    assert text.splitlines()[-1].split() == ['2', 'emu', '19', 'few']
    json.dumps(report)


def metrics(**changes):
    values = dict(all=80.0, many=90.0, medium=70.0, few=60.0, hmean=71.2)
    values.update(changes)
    return {f'shot/{name}_top1': value for name, value in values.items() if value is not None}


def work_dir(root, name, validations=(), test=None, log=True):
    """What mmengine's Runner leaves: a folder a run, named after its start."""
    run = root / name
    (run / 'vis_data').mkdir(parents=True)
    lines = [dict(lr=0.1, loss=2.0, step=1)]
    lines += [dict(**values, data_time=0.1, step=step) for step, values in validations]
    for file in (f'{name}.json', 'scalars.json'):
        (run / 'vis_data' / file).write_text(''.join(json.dumps(line) + '\n' for line in lines if log))
    if test:
        (run / f'{name}.json').write_text(json.dumps({**test, 'time': 0.2}))


def test_the_last_evaluation_counts(tmp_path):
    work_dir(tmp_path, '20240101_000000', [(1, metrics(all=1)), (2, metrics(all=2))])
    assert read_last_evaluation(tmp_path)[0]['all_top1'] == 2
    assert read_last_evaluation(tmp_path)[1].endswith('(step 2)')
    work_dir(tmp_path, '20240102_000000', [(5, metrics(all=5))], metrics(all=6))
    assert read_last_evaluation(tmp_path)[0]['all_top1'] == 6
    work_dir(tmp_path, '20240103_000000')  # a run that was stopped before it evaluated anything
    assert read_last_evaluation(tmp_path)[0]['all_top1'] == 6
    assert read_last_evaluation(tmp_path / '20240101_000000')[0]['all_top1'] == 2


def test_a_log_with_a_last_line_cut_off(tmp_path):
    log = tmp_path / 'log.json'
    log.write_text(json.dumps(metrics()) + '\n' + json.dumps(metrics(all=99))[:20])
    assert read_last_evaluation(log)[0]['all_top1'] == 80
    log.write_text(json.dumps(metrics())[:20] + '\n' + json.dumps(metrics()))
    with pytest.raises(ValueError, match='line 1, is no JSON'):
        read_last_evaluation(log)


def test_no_evaluation_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='no run at'):
        read_last_evaluation(tmp_path / 'gone')
    work_dir(tmp_path, '20240101_000000', [(1, {'accuracy/top1': 50.0})])
    with pytest.raises(ValueError, match=r"no evaluation with 'shot/…' metrics.*ShotGroupMetric"):
        read_last_evaluation(tmp_path)


def test_summary(tmp_path):
    for name, values in (('a', metrics()), ('b', metrics(many=None)), ('c', metrics(all=84.0))):
        (tmp_path / f'{name}.json').write_text(json.dumps(values))
    table = summarize_runs([('CE', tmp_path / 'a.json'), ('NBN', tmp_path / 'b.json')])
    lines = summary_markdown(table).splitlines()
    assert len(set(map(len, lines))) == 1
    assert [cell.strip() for cell in lines[0].split('|')[1:-1]] == [
        'Method', 'All', 'Many', 'Medium', 'Few', 'Harmonic mean']
    assert [cell.strip() for cell in lines[3].split('|')[1:-1]] == ['NBN', '80.00', '–', '70.00', '60.00', '71.20']
    write_summary(table, tmp_path / 'out' / 'table.md')
    assert (tmp_path / 'out' / 'table.md').read_text(encoding='utf-8').splitlines() == lines
    seeds = summarize_runs([('CE', tmp_path / 'a.json'), ('CE', tmp_path / 'c.json')])
    assert [cell.strip() for cell in summary_markdown(seeds).splitlines()[2].split('|')[1:4]] == [
        'CE', '2', '82.00 ± 2.83']
    assert summary_csv(seeds).splitlines()[1].startswith('CE,2,82.0000,2.8284,90.0000,0.0000')


def test_summary_refuses(tmp_path):
    for name, values in (('a', metrics()), ('b', metrics(many=None))):
        (tmp_path / f'{name}.json').write_text(json.dumps(values))
    with pytest.raises(ValueError, match="runs of 'CE' differ in their groups"):
        summarize_runs([('CE', tmp_path / 'a.json'), ('CE', tmp_path / 'b.json')])
    with pytest.raises(ValueError, match=r"no 'shot/all_top5'"):
        summarize_runs([('CE', tmp_path / 'a.json')], k=5)
    with pytest.raises(ValueError, match=r"'table\.txt' must end in \.md or \.csv"):
        check_summary_path('table.txt')


def test_named_paths(tmp_path):
    odd = tmp_path / 'a=b'
    odd.mkdir()
    assert parse_named_paths([f'CE={tmp_path}', str(tmp_path), str(odd)]) == [
        ('CE', tmp_path), (tmp_path.name, tmp_path), ('a=b', odd)]
    with pytest.raises(FileNotFoundError, match="no file or folder 'gone'"):
        parse_named_paths(['CE=gone'])
    with pytest.raises(ValueError, match='name=path'):
        parse_named_paths([f'={tmp_path}'])
