"""Detections of ``lvis_cases`` as data samples of a detector, and as the official package then gets them."""
import numpy as np
import torch
from pycocotools import mask as mask_utils


def data_samples(annotations, detections, dense=True):
    """One dict an image: boxes x1, y1, x2, y2 and scores in float32; masks of bool ``(N, H, W)``, or RLE."""
    label_of = {cat_id: label for label, cat_id in enumerate(sorted(c['id'] for c in annotations['categories']))}
    samples = []
    for image in annotations['images']:
        scores, cat_ids, boxes, rles = detections.get(image['id'], ([], [], [], []))
        boxes = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
        if dense:
            masks = np.zeros((0, image['height'], image['width']), bool)
            if rles:
                masks = mask_utils.decode(rles).transpose(2, 0, 1).astype(bool)
            masks = torch.from_numpy(np.ascontiguousarray(masks))
        else:
            masks = [dict(size=rle['size'], counts=rle['counts'].encode()) for rle in rles]
        samples.append(dict(
            img_id=image['id'], ori_shape=(image['height'], image['width']),
            pred_instances=dict(
                bboxes=torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1).float(),
                scores=torch.tensor(scores, dtype=torch.float32),
                labels=torch.tensor([label_of[cat_id] for cat_id in cat_ids], dtype=torch.int64), masks=masks)))
    return samples


def official_entries(annotations, detections, iou_type, mask_scores=None):
    """The same in the official form: numbers as float32 holds them, masks without ``bbox``."""
    entries = []
    for sample in data_samples(annotations, detections, dense=False):
        instances, img_id = sample['pred_instances'], sample['img_id']
        cat_ids, rles = detections.get(img_id, ([], [], [], []))[1::2]
        scores = mask_scores[img_id] if mask_scores else instances['scores'].tolist()
        boxes = instances['bboxes'].tolist()
        for (x1, y1, x2, y2), score, cat_id, rle in zip(boxes, scores, cat_ids, rles, strict=True):
            shape = dict(bbox=[x1, y1, x2 - x1, y2 - y1]) if iou_type == 'bbox' else dict(segmentation=rle)
            entries.append(dict(image_id=img_id, category_id=cat_id, score=score, **shape))
    return entries
