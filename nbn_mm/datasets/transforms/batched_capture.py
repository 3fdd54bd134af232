"""The tensor operations of a batched pipeline as one CUDA graph."""
from collections.abc import Callable

import torch
from torch import Tensor


class CapturedFunction:
    """A function of images and of a buffer of choices, captured once and replayed with one launch.

    Its calls must come from one stream, or from streams that wait for each other: they share their memory.

    Args:
        function (Callable): ``function(images, buffer)`` gives a tensor; it must not wait for the device, and do the
            same operations on tensors of the same shapes each time.
        images (Tensor): Of the first call, on a GPU.
        buffer (Tensor): Of the first call, in the memory of the host.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], images: Tensor, buffer: Tensor) -> None:
        self.images, self.buffer = images.clone(), buffer.to(images.device)
        stream = torch.cuda.Stream(images.device)
        stream.wait_stream(torch.cuda.current_stream(images.device))
        with torch.cuda.device(images.device), torch.cuda.stream(stream):
            function(self.images, self.buffer)  # makes the tables, which the graph then finds
        torch.cuda.current_stream(images.device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(images.device), torch.cuda.graph(self.graph, capture_error_mode='thread_local'):
            self.result = function(self.images, self.buffer)

    def __call__(self, images: Tensor, buffer: Tensor) -> Tensor:
        """The function's result, in memory of its own.

        Args:
            images (Tensor): Of the shape of the first call, on the same GPU.
            buffer (Tensor): Of the size of the first call, in pinned memory of the host.
        """
        self.images.copy_(images)
        self.buffer.copy_(buffer, non_blocking=True)
        self.graph.replay()
        return self.result.clone()
