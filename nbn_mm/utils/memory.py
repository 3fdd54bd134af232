"""How much memory a device has left."""
import os
from pathlib import Path

import torch

UNITS = ('B', 'KiB', 'MiB', 'GiB', 'TiB')


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a device.

    Args:
        device (torch.device): The device.

    Returns:
        int, optional: Bytes that can still be taken: of a CUDA device what the driver says, of the CPU what the system
        can give without swapping; None for other devices, which have no way to ask.
    """
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    if device.type != 'cpu':
        return None
    info = Path('/proc/meminfo')
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith('MemAvailable'):
                return 1024 * int(line.split()[1])
    return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def in_words(number: int) -> str:
    """Bytes with a binary unit, for example ``'36.4 MiB'``."""
    power = min(max(number.bit_length() - 1, 0) // 10, len(UNITS) - 1)
    return f'{number / 1024**power:.{1 if power else 0}f} {UNITS[power]}'
