"""The process that trains: how its allocator keeps memory, and which one speaks."""

from __future__ import annotations

import os
import platform
import sys

__all__ = ["announce", "keep_freed_memory"]

_MARK = "EDGE_BTS_ALLOCATOR"


def keep_freed_memory() -> None:
    """Start the process again with an allocator that keeps big buffers.

    glibc gives every freed activation back to the kernel and pays page faults to get it again,
    step after step. Its tunables are read once, when a process starts, so the only way to set
    them is to start again. Does nothing outside Linux with glibc, where the user has set
    ``GLIBC_TUNABLES``, or with ``EDGE_BTS_ALLOCATOR=system``.
    """
    if platform.libc_ver()[0] != "glibc" or "GLIBC_TUNABLES" in os.environ or _MARK in os.environ:
        return
    os.environ[_MARK] = "keep"
    os.environ["GLIBC_TUNABLES"] = (
        "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592"
        ":glibc.malloc.trim_threshold=17179869184"
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def announce(line: str) -> None:
    """Print ``line``; where several processes train together, only the first of them does."""
    # torchrun sets RANK; Fabric, which starts the others itself for loop.devices, LOCAL_RANK.
    if os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0":
        print(line, flush=True)
