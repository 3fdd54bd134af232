"""Reading a file of millions of objects: without needless searches, and without keeping what is freed."""
import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_cycle_search() -> Iterator[None]:
    """Millions of new objects would be searched for cycles again and again, which doubles the time of reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def give_back_memory() -> None:
    """Return freed memory to the system where the C library keeps it (glibc); does nothing elsewhere.

    What stays with a process is also what its data loader workers write to, and so copy.
    """
    if sys.platform == 'linux':
        trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # musl has none
        if trim is not None:
            trim(0)
