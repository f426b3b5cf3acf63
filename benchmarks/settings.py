"""How a benchmark is run, and what is a regression: the sections ``[bench]``, ``[regress]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edge_bts.config import Settings

__all__ = ["QUICK", "BenchSettings", "RegressSettings"]


class BenchSettings(Settings):
    """Every row is measured until it has ``frames`` frames or ``seconds`` seconds of them.

    Back to back by default; ``fps`` paces the frames as a probe delivers them, ``idle_ms`` puts
    a gap before each burst, as a freeze does, ``co_load`` measures each row once more beside
    processes that compute.
    """

    threads: int = Field(1, ge=1, description="Threads inside one inference.")
    seconds: float = Field(60.0, gt=0, description="Measured seconds of a row at most.")
    frames: int = Field(1000, ge=3, description="Measured frames of a row at most.")
    warmup_seconds: float = Field(2.0, ge=0, description="Before that, at least, and until steady.")
    lead_in_ms: float = Field(30.0, ge=0, description="Untimed at the start of a row's turn.")
    fps: float | None = Field(
        None, gt=0, le=1000, description="Frames a second that arrive; none: back to back."
    )
    deadline_ms: float | None = Field(
        None, gt=0, description="From a frame's arrival to its mask; none: the period of fps."
    )
    idle_ms: float = Field(
        0.0, ge=0, le=600_000, description="Gap before each burst, as a freeze makes; 0: none."
    )
    burst: int = Field(30, ge=1, description="Frames between two gaps.")
    co_load: int = Field(
        0, ge=0, le=256, description="Processes that compute beside each row's second turn."
    )
    streams: int = Field(
        1, ge=1, le=64, description="Processes of one row at once, for its throughput; 1: skip."
    )
    percentile: float = Field(
        99.0, gt=0, lt=100, description="Highest percentile that the frames must bound."
    )
    roofline: bool = Field(True, description="Measure the machine's peaks, for each row's floor.")
    layers: bool = Field(True, description="Ask OpenVINO for the time of each layer.")
    height: int = Field(480, ge=64, le=4096, description="Rows of the phantom frames, pixels.")
    width: int = Field(576, ge=64, le=4096, description="Columns of the phantom frames, pixels.")
    seed: int = Field(0, description="Of the phantom frames and of untrained weights.")
    foreign_load: float = Field(
        0.10, ge=0, le=1, description="Share of the machine that other processes may use."
    )
    clock_move: float = Field(
        0.05, ge=0, le=1, description="Share of its median by which a clock may fall."
    )
    backends: list[Literal["onnxruntime", "openvino", "native", "tensorrt", "torch"]] = Field(
        [], description="Only rows of these; none: of all that are here."
    )
    compiled: bool = Field(False, description="Add rows of torch.compile, which takes minutes.")
    quick: bool = Field(False, description="A look, not a measurement: the verdict says QUICK.")

    @property
    def limit_ms(self) -> float | None:
        """The deadline: as given, else the period of ``fps``; None where there is neither."""
        if self.deadline_ms is not None or self.fps is None:
            return self.deadline_ms
        return 1e3 / self.fps


QUICK = {"seconds": 3.0, "frames": 60, "warmup_seconds": 0.3}
"""What ``--quick`` sets."""


class RegressSettings(Settings):
    """By what share a quantity of a row may grow before ``edge-bts compare`` calls it worse.

    Times: the whole 95 % interval of the quotient of medians lies above. Misses need no share: the
    run before bounds their rate.
    """

    engine: float = Field(0.05, ge=0, description="Median time of the network.")
    frame: float = Field(0.05, ge=0, description="Median time from frame to mask.")
    memory: float = Field(0.05, ge=0, description="Peak memory of the process.")
    file: float = Field(0.05, ge=0, description="Bytes of the network's files.")
