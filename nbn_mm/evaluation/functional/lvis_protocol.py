"""What the official LVIS evaluation (lvis 0.5.3) fixes: thresholds, area ranges, and its quirks, all of which are kept.

Gupta et al., LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019, arXiv:1908.03195 (section 3:
federated evaluation). The modules ``lvis_*`` give the official precision and recall to the last bit. The quirks:

- The cut to 300 detections an image comes first, over all categories, also those that are then filtered out; of equal
  scores the earlier detection stays. Equal scores keep the order of images (ascending id) and, within an image, that of
  the detections.
- Federated filter: a detection counts only if its category is among the image's negative categories or among those of
  its annotations. Annotations and detections whose area is not in (0, inf) do not exist: a category whose only
  annotation has area 0 is not present.
- The area of an annotation is what the file says; the area of a detection is w·h of its box, or its mask's pixels when
  masks are evaluated (mask entries without ``bbox``).
- Both ends of an area range belong to it: an area of exactly 32² is small and medium.
- ``iscrowd`` is not read. Annotations with ``ignore``, or outside of the area range, take part in the matching after
  the others, at most once each; who matches one is neither right nor wrong.
- Of several annotations with the same IoU the last one is matched.
- An unmatched detection whose area is outside of the range, or whose category is not exhaustively annotated in the
  image, is ignored.
- A match with the annotation of id 0 counts as no match, yet that annotation is taken.
- Two masks of different sizes have IoU -1, they never match.
- A polygon of 4 numbers at the first place of an annotation is read as a box (pycocotools).
- Images without detections, given or not, count with their annotations. A category without annotations that count is -1
  everywhere; one without detections has recall 0 and precision 0.
- The precision at a recall that is not reached is 0, and part of the mean.
- An empty list of detections crashes the official package; here it is what it says.
"""
import numpy as np

# As the official package computes them: np.arange would give other floating-point numbers.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10, endpoint=True)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101, endpoint=True)
AREA_RANGES = np.array([[0, 1e5**2], [0, 32**2], [32**2, 96**2], [96**2, 1e5**2]], dtype=np.float64)
AREAS = ('all', 'small', 'medium', 'large')
MAX_DETS = 300
IOU_TYPES = ('bbox', 'segm')

# A set of (area range a, IoU threshold t) is an integer whose bit 10·a + t says whether the pair is in it.
NUM_THRESHOLDS = len(IOU_THRESHOLDS)
NUM_BITS = len(AREAS) * NUM_THRESHOLDS
ALL_THRESHOLDS = (1 << NUM_THRESHOLDS) - 1
ALL_BITS = (1 << NUM_BITS) - 1
FIRST_BITS = sum(1 << (NUM_THRESHOLDS * area) for area in range(len(AREAS)))


def area_bits(areas: np.ndarray) -> np.ndarray:
    """The pairs (a, t) whose area range does *not* hold an area.

    Args:
        areas (np.ndarray): Areas, shape ``(N, )``.

    Returns:
        np.ndarray: uint64 of shape ``(N, )``; the thresholds of an area range share one value.
    """
    bits = np.zeros(len(areas), dtype=np.uint64)
    for index, (low, high) in enumerate(AREA_RANGES):
        outside = (areas < low) | (areas > high)
        bits[outside] |= np.uint64(ALL_THRESHOLDS << (NUM_THRESHOLDS * index))
    return bits


def check_iou_type(iou_type: str) -> str:
    """The kind of IoU.

    Raises:
        ValueError: If it is neither ``'bbox'`` nor ``'segm'``.
    """
    if iou_type not in IOU_TYPES:
        raise ValueError(f"iou_type={iou_type!r} must be 'bbox' or 'segm'.")
    return iou_type


def check_max_dets(max_dets: int) -> int:
    """The number of detections that count in an image.

    Raises:
        ValueError: If it is no integer >= 1.
    """
    if isinstance(max_dets, bool) or not isinstance(max_dets, int) or max_dets < 1:
        raise ValueError(f'max_dets={max_dets!r} must be an integer >= 1 (LVIS: {MAX_DETS}).')
    return max_dets
