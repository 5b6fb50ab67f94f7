"""Keep freed memory in the process instead of handing it back after every operation.

glibc gives freed blocks of some size back to the kernel at once and asks for them again at the next step; every page is
then cleared and mapped anew. Training on the CPU frees and takes the same tensors over and over, and spends more time
on that than on arithmetic.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
LARGEST = 2**31 - 1  # mallopt takes an int
PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Make glibc keep what is freed for the next allocation; return False where the C library is another one."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError, OSError):
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, LARGEST), (M_TOP_PAD, PAD_BYTES))
    done = [mallopt(name, value) for name, value in settings]  # all of them, whatever the first returns
    return all(done)
