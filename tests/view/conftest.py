"""A server of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from view_page import Served, serving, wait_until


@pytest.fixture(scope="module")
def _server() -> Iterator[Served]:
    with serving() as running:
        yield running


@pytest.fixture
def served(_server: Served) -> Served:
    """A server that nobody watches."""
    wait_until(lambda: not _server.hub.watched.is_set())
    return _server
