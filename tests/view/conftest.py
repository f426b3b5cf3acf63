"""A server of the page; what needs the packages of edge-bts[view] is skipped without them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

for _package in ("starlette", "uvicorn", "websockets"):
    pytest.importorskip(_package, reason=f"{_package} is not installed (edge-bts[view])")


@pytest.fixture(scope="module")
def _server() -> Iterator[Any]:
    from view_page import serving

    with serving() as running:
        yield running


@pytest.fixture
def served(_server: Any) -> Any:
    """A server that nobody watches."""
    from view_page import wait_until

    wait_until(lambda: not _server.hub.watched.is_set())
    return _server
