"""The CPU cores and the memory of this process, on every system."""

from __future__ import annotations

import os
import sys

BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024
"""The unit of `ru_maxrss`, which Linux counts in KiB."""


def available_cores() -> int:
    """The number of CPU cores that this process may run on, at least 1.

    A container, `taskset` or a job scheduler may allow fewer cores than the machine has. macOS does
    not bind processes to cores, so it returns all cores of the machine.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    if affinity is not None:
        return len(affinity(0))
    # Imported here, because the import takes 15 ms and most systems do not get here.
    import psutil

    bound = getattr(psutil.Process(), "cpu_affinity", None)
    return len(bound()) if bound is not None else os.cpu_count() or 1


def peak_memory_bytes() -> int:
    """The peak memory of this process so far, in bytes.

    If the system does not know the peak, it returns the memory that the process holds now.
    """
    try:
        import resource
    except ModuleNotFoundError:
        # Windows.
        import psutil

        held = psutil.Process().memory_info()
        return getattr(held, "peak_wset", held.rss)
    # psutil knows the peak only on Windows.
    usage = resource.getrusage(resource.RUSAGE_SELF)  # pyright: ignore[reportAttributeAccessIssue]
    return usage.ru_maxrss * BYTES_OF_MAXRSS
