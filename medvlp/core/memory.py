"""One setting of the C allocator that image work needs: keep freed memory instead of giving it back at once.

By default glibc returns each large block to the kernel and takes a fresh one, a page fault every 4 KiB: a tenth to a
fifth of a training step on virtual machines. The price of keeping it is that a process stays at its largest size.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # <malloc.h>


@cache
def keep_freed_memory() -> bool:
    """Keep blocks of up to 1 GiB in the process; returns whether the allocator took it (glibc only)."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    done = library.mallopt(_MMAP_THRESHOLD, 1 << 30) == 1
    return library.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1) == 1 and done
