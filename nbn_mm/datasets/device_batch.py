"""A batch that is whole when it leaves the data set, and the collate function that leaves it so."""
from typing import Any

from mmengine.registry import FUNCTIONS

COLLATE = "collate_fn=dict(type='device_collate')"


class DeviceBatch(dict):
    """``inputs``, uint8 ``(N, 3, H, W)`` on the device, and ``data_samples``, a ``LabelBatch``."""

    def __missing__(self, key: Any) -> Any:
        """Raise; collate functions of single samples ask for sample 0 first."""
        raise KeyError(f'{key!r}. DeviceDataset gives whole batches, which must not be collated: set {COLLATE} in its '
                       'dataloader.')

    def pin_memory(self) -> 'DeviceBatch':
        """The batch itself: what is on a device need not be pinned for the way there."""
        return self


@FUNCTIONS.register_module()
def device_collate(data_batch: DeviceBatch) -> DeviceBatch:
    """The batch as ``DeviceDataset`` made it.

    Args:
        data_batch (DeviceBatch): What the data set gave for all indices of a batch.

    Returns:
        DeviceBatch: The same object.

    Raises:
        TypeError: If the data set gave single samples.
    """
    if not isinstance(data_batch, DeviceBatch):
        raise TypeError(f'{COLLATE} takes the whole batches of DeviceDataset, but the data set gives '
                        f"{type(data_batch).__name__}. Set collate_fn=dict(type='default_collate') in this dataloader, "
                        "or wrap its data set: dataset=dict(type='DeviceDataset', dataset=dict(...), pipeline=[...]).")
    return data_batch
