"""What all tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def heard_interrupts() -> None:
    """Let processes that tests start hear Ctrl-C, also where a shell started us in background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds Dataset_BUSI_with_GT and BUSBRA; skips where it is absent."""
    path = Path(os.environ.get("EDGE_BTS_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (path / "Dataset_BUSI_with_GT").is_dir():
        pytest.skip(f"no real data at {path.name}/ (set EDGE_BTS_DATA to its folder)")
    return path
