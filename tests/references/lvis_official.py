"""The official LVIS evaluation (lvis 0.5.3) on plain lists, with the one NumPy name that it misses."""
import copy
import logging

import numpy as np


def official_evaluation(annotations, results, iou_type, img_ids=None, max_dets=300):
    """The official ``LVISEval`` after ``run``.

    Args:
        annotations (dict): Content of an LVIS-format file.
        results (list[dict]): ``image_id, category_id, score`` and ``bbox`` or ``segmentation``; not empty.
        iou_type (str): ``'bbox'`` or ``'segm'``; for the latter the results have no ``bbox``, so areas are the masks'.
        img_ids (list, optional): Evaluate these images only.
        max_dets (int): Detections an image.
    """
    from lvis import LVIS, LVISEval, LVISResults
    ground_truth = object.__new__(LVIS)  # its __init__ takes a file only
    ground_truth.logger = logging.getLogger('lvis.lvis')
    ground_truth.dataset = copy.deepcopy(annotations)
    ground_truth._create_index()
    missing = 'float' not in vars(np)
    if missing:
        np.float = float  # gone since NumPy 1.24, where the package still asks for it
    try:
        evaluation = LVISEval(ground_truth, LVISResults(ground_truth, copy.deepcopy(results), max_dets), iou_type)
        evaluation.params.max_dets = max_dets
        if img_ids is not None:
            evaluation.params.img_ids = list(img_ids)
        evaluation.run()
    finally:
        if missing:
            del np.float
    return evaluation
