from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pydicom")
pytest.importorskip("pylibjpeg")

from ultrasound import loop, save, ultrasound


@pytest.fixture
def cine(tmp_path: Path) -> Path:
    """A plain cine loop of three frames."""
    return save(ultrasound(loop()), tmp_path / "cine.dcm")
