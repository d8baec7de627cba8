"""What this process may use of its machine, on every system."""

from __future__ import annotations

import os
import sys

BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024
"""The unit of `ru_maxrss`, which Linux counts in KiB."""


def available_cores() -> int:
    """CPU cores that this process may run on, at least 1.

    A container, `taskset` or a job scheduler may allow fewer cores than the machine has. macOS
    binds no process to cores: there it is every core of the machine.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    if affinity is not None:
        return len(affinity(0))
    # Most systems need no psutil for this, and its import takes 15 ms.
    import psutil

    bound = getattr(psutil.Process(), "cpu_affinity", None)
    return len(bound()) if bound is not None else os.cpu_count() or 1


def peak_memory_bytes() -> int:
    """The most memory that this process has held so far, in bytes.

    Where the system does not tell its peak, it is what the process holds now.
    """
    try:
        import resource
    except ModuleNotFoundError:
        # Windows.
        import psutil

        held = psutil.Process().memory_info()
        return getattr(held, "peak_wset", held.rss)
    # psutil tells no peak outside Windows.
    usage = resource.getrusage(resource.RUSAGE_SELF)  # pyright: ignore[reportAttributeAccessIssue]
    return usage.ru_maxrss * BYTES_OF_MAXRSS
