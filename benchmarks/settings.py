"""How a benchmark is run: the ``[bench]`` section of a recipe."""

from __future__ import annotations

from pydantic import Field

from edge_bts.config import Settings

__all__ = ["QUICK", "BenchSettings"]


class BenchSettings(Settings):
    """Every row is measured until it has ``frames`` frames or ``seconds`` seconds of them."""

    threads: int = Field(1, ge=1, description="Threads inside one inference.")
    seconds: float = Field(60.0, gt=0, description="Measured seconds of a row at most.")
    frames: int = Field(1000, ge=3, description="Measured frames of a row at most.")
    warmup_seconds: float = Field(2.0, ge=0, description="Before that, at least, and until steady.")
    lead_in_ms: float = Field(30.0, ge=0, description="Untimed at the start of a row's turn.")
    height: int = Field(480, ge=64, le=4096, description="Rows of the phantom frames, pixels.")
    width: int = Field(576, ge=64, le=4096, description="Columns of the phantom frames, pixels.")
    seed: int = Field(0, description="Of the phantom frames and of untrained weights.")
    foreign_load: float = Field(
        0.10, ge=0, le=1, description="Share of the machine that other processes may use."
    )
    quick: bool = Field(False, description="A look, not a measurement: the verdict says QUICK.")


QUICK = {"seconds": 3.0, "frames": 60, "warmup_seconds": 0.3}
"""What ``--quick`` sets."""
