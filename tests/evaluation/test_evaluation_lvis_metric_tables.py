import json

import numpy as np
import pytest

from nbn_mm.evaluation.functional.lvis_result_file import LVISResultPart, join_result_parts, top_detections
from nbn_mm.evaluation.functional.lvis_table import (
    describe_groups,
    format_lvis_table,
    lvis_class_table,
    read_lvis_class_csv,
    write_lvis_class_csv,
)

HEAD = 'class,frequency,train_images,train_instances,test_images,test_instances'


def rows(**ap):
    return lvis_class_table(['cat', 'dog, small'], ['r', 'f'], [3, 400], None, [1, 0], [2, 0],
                            {key: np.array(value) for key, value in ap.items()})


def test_table():
    box = dict(AP=0.2345, AP50=1.0, AP75=0.0, APs=-1, APm=0.1, APl=0.2, APr=0.00049, APc=0.5)
    text = format_lvis_table(dict(bbox=box, segm={}), dict(bbox={('r', 's'): 0.5, ('f', 'l'): -1.0}))
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ['AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APc', 'APf']
    assert lines[1] == ['box', '23.4', '100.0', '0.0', '–', '10.0', '20.0', '0.0', '50.0', '–']
    assert lines[2] == ['mask', *['–'] * 9]
    assert lines[3][0] == 'r/s' and lines[4] == ['box', '50.0', *['–'] * 8] and len(lines) == 5


def test_groups_with_ground_truth():
    assert describe_groups(list('rrrcff'), [True, False, True, False, True, True]) == 'r 2 of 3, c 0 of 1, f 2 of 2'


def test_class_csv_and_back(tmp_path):
    written = rows(bbox=[1 / 3, np.nan], segm=[0.0, -1.0])
    write_lvis_class_csv(written, tmp_path / 'a.csv')
    assert read_lvis_class_csv(tmp_path / 'a.csv') == written
    assert (tmp_path / 'a.csv').read_text().splitlines() == [
        HEAD + ',bbox_AP,segm_AP',
        f'cat,r,3,,1,2,{1 / 3!r},0.0', '"dog, small",f,400,,0,0,,']


@pytest.mark.parametrize('text, message', [
    ('index,class\n0,cat\n', "is no per-class table of StreamingLVISMetric: it has no \\['frequency'"),
    ('', 'is no per-class table'),
    (HEAD + '\ncat,r,1,1,1,1\n', 'no bbox_AP or segm_AP'),
    (HEAD + ',segm_AP\ncat,r,many,1,1,1,0.1\n', "is damaged.*'many'"),
    (HEAD + ',segm_AP\ncat,x,1,1,1,1,0.1\n', "is damaged: frequency 'x' of class 'cat'"),
])
def test_class_csv_refused(tmp_path, text, message):
    (tmp_path / 'a.csv').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_lvis_class_csv(tmp_path / 'a.csv')
    with pytest.raises(FileNotFoundError, match="per_class_csv='…csv'"):
        read_lvis_class_csv(tmp_path / 'gone.csv')


def test_top_detections():
    scores = np.array([0.5, 0.9, 0.5, 0.1, 0.5], dtype=np.float32)
    slow = sorted(range(5), key=lambda index: scores[index], reverse=True)
    assert [top_detections(scores, n).tolist() for n in (1, 2, 3, 4)] == [slow[:n] for n in (1, 2, 3, 4)]
    assert top_detections(scores, 5).tolist() == [0, 1, 2, 3, 4] and top_detections(scores[:0]).tolist() == []


def test_parts_are_joined_in_order_without_repetition(tmp_path):
    prefix = tmp_path / 'deep' / 'r'
    for rank, img_ids in enumerate([[7, 1], [], [3, 7]]):
        part = LVISResultPart(prefix, 'segm', rank)
        for img_id in img_ids:
            shapes = [dict(size=np.array([2, 3]), counts=f'a\\"{img_id}{rank}'.encode()),
                      dict(size=[2, 3], counts='b')]
            part.write(img_id, np.array([5, 6]), np.array([0.5, 0.25], dtype=np.float32), shapes)
        part.write(9, [], np.zeros(0), [])
        part.close()
    path = join_result_parts(prefix, 'segm', 3, [9, 7, 3, 1])
    entries = json.loads(path.read_text())
    assert [(entry['image_id'], entry['category_id'], entry['score']) for entry in entries] == [
        (7, 5, 0.5), (7, 6, 0.25), (3, 5, 0.5), (3, 6, 0.25), (1, 5, 0.5), (1, 6, 0.25)]
    assert [entry['segmentation'] for entry in entries[:2]] == [dict(size=[2, 3], counts='a\\"70'),
                                                                dict(size=[2, 3], counts='b')]
    assert [file.name for file in prefix.parent.iterdir()] == ['r.segm.json']


def test_an_image_without_detections_replaces_those_of_an_interrupted_evaluation(tmp_path):
    part = LVISResultPart(tmp_path / 'r', 'bbox')
    part.write(7, [1], np.array([0.5]), np.ones((1, 4)))
    part.write(7, [], np.zeros(0), np.zeros((0, 4)))
    part.close()
    assert join_result_parts(tmp_path / 'r', 'bbox', 1, [7]).read_text() == '[]\n'


def test_a_missing_part_leaves_the_last_file(tmp_path):
    (tmp_path / 'r.bbox.json').write_text('[]')
    with pytest.raises(FileNotFoundError, match=r'r\.bbox\.part0'):
        join_result_parts(tmp_path / 'r', 'bbox', 1, [])
    assert (tmp_path / 'r.bbox.json').read_text() == '[]'
