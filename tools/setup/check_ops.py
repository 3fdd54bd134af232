"""Runs one nms and one roi_align of mmcv and compares them with known results: check_ops.py [cpu|cuda]."""

import sys


def main(device):
    import torch
    from mmcv.ops import get_compiling_cuda_version, nms, roi_align

    compiled = get_compiling_cuda_version()
    if device == 'cuda':
        assert compiled != 'not available', 'this mmcv has ops for the CPU alone'
        if not torch.cuda.is_available():
            print(f'no GPU at hand: CUDA ops compiled with {compiled}, tried on the CPU')
            device = 'cpu'
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]], device=device)
    scores = torch.tensor([0.6, 0.9, 0.5], device=device)
    kept = nms(boxes, scores, iou_threshold=0.5)[1].tolist()
    assert kept == [1, 2], f'nms kept {kept} instead of [1, 2]'
    ramp = torch.arange(8.0, device=device).repeat(8, 1)[None, None]
    rois = torch.tensor([[0.0, 1.0, 1.0, 5.0, 5.0]], device=device)
    # each 2x2 bin of an aligned ramp is its x at the centre of the bin: 1 + 1 - 0.5 and 3 + 1 - 0.5
    found = roi_align(ramp, rois, (2, 2), 1.0, 2, 'avg', True)
    expected = torch.tensor([[[[1.5, 3.5], [1.5, 3.5]]]], device=device)
    assert torch.allclose(found, expected), f'roi_align gave {found.tolist()} instead of {expected.tolist()}'
    print(f'nms and roi_align are right on {device}, torch {torch.__version__}, ops compiled for CUDA: {compiled}')


if __name__ == '__main__':
    main(sys.argv[1] if len(sys.argv) > 1 else 'cpu')
