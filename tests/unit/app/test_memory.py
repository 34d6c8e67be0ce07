"""A serving process gives large blocks back to the system."""

import subprocess
import sys

import pytest

from nexus.app.memory import keep_heap_small

# `hblkhd` of mallinfo2 counts the bytes in blocks that are mapped by themselves.
SCRIPT = """
import ctypes
from nexus.app.memory import keep_heap_small

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("a", "b", "c", "d", "hblkhd", "f", "g", "h", "i", "j")]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
{call}
bytes(4_000_000)
before = libc.mallinfo2().hblkhd
block = bytes(400_000)
print(libc.mallinfo2().hblkhd - before)
"""


def mapped_bytes(call: str) -> int:
    """How much of a block is mapped by itself after a larger one was freed."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(call=call)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_large_blocks_are_mapped_by_themselves():
    if not keep_heap_small():
        pytest.skip("another C library than glibc")
    assert mapped_bytes("keep_heap_small()") >= 400_000
    assert mapped_bytes("pass") == 0, "the library does so anyway: the call is of no use any more"
