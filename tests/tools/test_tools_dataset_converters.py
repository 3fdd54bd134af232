"""The tools for LVIS-format data: shapes are drawn, checked, made COCO format and converted back."""
import json

from tool_process import run_tool


def tool(name, *args, cwd):
    return run_tool(f'dataset_converters/{name}.py', *args, cwd=cwd)


def test_draw_check_and_convert(tmp_path):
    code, output = tool('make_shapes_lvis', tmp_path / 'shapes', '--num-train', 8, '--num-val', 4, '--image-size', 48,
                        '--num-classes', 5, '--rare', 1, '--common', 3, '--imbalance-factor', 6, cwd=tmp_path)
    assert code == 0, output
    assert '8 images (8 with annotations)' in output and '5 categories' in output

    annotations = tmp_path / 'shapes/annotations'
    code, output = tool('check_lvis', '--ann', annotations / 'train.json', '--img-prefix', tmp_path / 'shapes',
                        '--images', '--workers', 1, cwd=tmp_path)
    assert code == 0, output
    (tmp_path / 'shapes/train/000001.png').write_bytes(b'no picture')
    code, output = tool('check_lvis', '--ann', annotations / 'train.json', '--img-prefix', tmp_path / 'shapes',
                        '--images', '--workers', 1, cwd=tmp_path)
    assert code == 1 and 'PROBLEM' in output and '000001.png' in output

    for split in ('train', 'val'):
        content = json.loads((annotations / f'{split}.json').read_text())
        for image in content['images']:
            del image['neg_category_ids'], image['not_exhaustive_category_ids']
        content['categories'] = [dict(id=c['id'], name=c['name']) for c in content['categories']]
        (tmp_path / f'coco_{split}.json').write_text(json.dumps(content))
    code, output = tool('coco_to_lvis', tmp_path / 'coco_train.json', '--val', tmp_path / 'coco_val.json', '--out',
                        tmp_path / 'lvis', '--rare', 1, '--common', 3, '--negatives', 2, cwd=tmp_path)
    assert code == 0, output
    for split in ('train', 'val'):
        ours, first = (json.loads((folder / f'{split}.json').read_text())
                       for folder in (tmp_path / 'lvis', annotations))
        assert ours['categories'] == first['categories'] and ours['annotations'] == first['annotations']
        assert all(len(image['neg_category_ids']) == 2 for image in ours['images'])


def test_errors_are_one_line(tmp_path):
    code, output = tool('coco_to_lvis', 'nowhere.json', '--out', tmp_path / 'out', cwd=tmp_path)
    assert code == 1 and output.rstrip().splitlines()[-1].startswith("error: train='nowhere.json'")
    code, output = tool('check_lvis', tmp_path, cwd=tmp_path)
    assert code == 1 and 'lvis_v1_train.json.zip' in output and 'Traceback' not in output
    code, output = tool('make_shapes_lvis', tmp_path, cwd=tmp_path)
    assert code == 1 and 'is not empty' in output.splitlines()[-1]
