"""The memory of a serving process: how often it is searched for garbage, and what goes back to the system."""

import ctypes
import gc
import os

_GC_THRESHOLD = 20_000
_LARGE_BLOCK_BYTES = 256 * 1024
_M_MMAP_THRESHOLD = -3


def settle_memory() -> None:
    """Take what lives as long as the process out of garbage collection, and collect the rest less often.

    Requests leave no reference cycles behind, so there is little to find and much to search.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 50, 50)


def give_back_large_blocks() -> bool:
    """Have the C library map each large block by itself, and unmap it when it is freed; whether it will.

    Left alone, glibc moves its limit for that up to the size of what was freed last. Then the tables of
    bounded collections, which are rebuilt time and again, leave holes in the heap, and it creeps up for
    hours. Other C libraries are left as they are.
    """
    try:
        is_glibc = bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (ValueError, OSError):  # a system, or a library, that does not know the name
        is_glibc = False
    return is_glibc and bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES))
