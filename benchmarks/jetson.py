"""What a Jetson says of itself: power mode, clocks, rails; formats of JetPack 5, 6 and 7.

No reader needs root. What a board does not tell is absent, never zero: a rail of 0 mW is a rail
of 0 mW, and the -256 degrees of a sensor that is powered down are no temperature.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from edge_bts.benchmarks.sysfs import numbers, read_number, read_text

__all__ = [
    "Tegrastats",
    "TegrastatsReader",
    "clocks_are_locked",
    "gpu_mhz",
    "overcurrent_events",
    "parse_tegrastats",
    "rails_mw",
    "total_mw",
]

COLDEST_C = -200.0
"""Below this a sensor is not read: Tegra answers -256 for one that has no power."""

_TOTALS = ("VDD_IN", "POM_5V_IN")  # rails that everything on the module draws from
_POWER = re.compile(r"\b([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/\d+(?:mW)?(?:/\d+mW)?(?=\s|$)")
_HEAT = re.compile(r"\b([A-Za-z][A-Za-z0-9_]*)@(-?\d+(?:\.\d+)?)C")


class Tegrastats(BaseModel):
    """One line of ``tegrastats``; None and missing keys are what the line does not hold.

    Attributes:
        cpu_load: Percent of each core that is on.
        cpu_mhz: Clock of each core that is on.
        gpu_load: Percent.
        gpu_mhz: The highest of its clusters; 0 while the GPU is powered down.
        emc_mhz: Clock of the memory; only root sees it.
        temperatures_c: By sensor.
        rails_mw: By rail, as of now (the line's mean is left out).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ram_mb: int | None = None
    cpu_load: list[int] = []
    cpu_mhz: list[int] = []
    gpu_load: int | None = None
    gpu_mhz: int | None = None
    emc_mhz: int | None = None
    temperatures_c: dict[str, float] = {}
    rails_mw: dict[str, int] = {}


def parse_tegrastats(line: str) -> Tegrastats:
    """Read one line of ``tegrastats``, of any JetPack from 5 to 7."""
    ram = re.search(r"\bRAM (\d+)/\d+MB", line)
    cores = re.search(r"\bCPU \[([^\]]*)\]", line)
    on = re.findall(r"(\d+)%@(\d+)", cores[1]) if cores else []
    # Orin's clusters stand in brackets; Thor's come without a load.
    gpu = re.search(r"\bGR3D_FREQ (?:(\d+)%)?(?:@(?:\[([\d,]+)\]|(\d+)))?", line)
    clusters = [int(c) for c in ((gpu[2] or gpu[3] or "") if gpu else "").split(",") if c]
    emc = re.search(r"\bEMC_FREQ \d+%@(\d+)", line)
    return Tegrastats(
        ram_mb=int(ram[1]) if ram else None,
        cpu_load=[int(load) for load, _ in on],
        cpu_mhz=[int(clock) for _, clock in on],
        gpu_load=int(gpu[1]) if gpu and gpu[1] else None,
        gpu_mhz=max(clusters, default=None),
        emc_mhz=int(emc[1]) if emc else None,
        temperatures_c={
            name: float(value) for name, value in _HEAT.findall(line) if float(value) > COLDEST_C
        },
        rails_mw={
            name: int(value)
            for name, value in _POWER.findall(line)
            if name not in ("NC", "RAM", "SWAP", "IRAM")
        },
    )


def clocks_are_locked(text: str) -> bool | None:
    """Say from ``jetson_clocks --show`` whether it has locked the clocks; None: it does not say.

    Locked is what cannot move: the least and the greatest of CPU cores and GPU are the same.
    """
    ranges = re.findall(r"^(?:cpu\d+|GPU).*?MinFreq=(\d+) +MaxFreq=(\d+)", text, re.MULTILINE)
    return all(low == high for low, high in ranges) if ranges else None


def rails_mw(root: Path) -> dict[str, float]:
    """Return the power of each INA3221 rail by label, from sysfs; {} where there is none."""
    return {label: volts * amps / 1e3 for label, volts, amps in _channels(root)}


def total_mw(rails: dict[str, float]) -> tuple[float, str] | None:
    """Return the module's power and what it covers; None without rails.

    Orin Nano and NX have one rail for all; AGX has none: the sum of its rails leaves out the
    carrier board, and a meter at the plug read more than twice that.
    """
    for name in _TOTALS:
        if name in rails:
            return rails[name], f"rail {name}: the module"
    if not rails:
        return None
    return sum(rails.values()), f"sum of {', '.join(sorted(rails))}: without the carrier board"


def _channels(root: Path) -> Iterator[tuple[str, float, float]]:
    pattern = "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label"
    for path in sorted(root.glob(pattern)):
        number = path.name[2:-6]
        label = read_text(path)
        volts = read_number(path.with_name(f"in{number}_input"))
        amps = read_number(path.with_name(f"curr{number}_input"))
        # An unconnected input is labelled NC; channel 7 is a sum of shunt voltages, no rail.
        if not label or label.startswith("NC") or number == "7" or volts is None or amps is None:
            continue
        yield label, volts, amps


def gpu_mhz(root: Path) -> float | None:
    """Return the clock of the integrated GPU, the highest of its parts."""
    found = numbers(
        path
        for path in root.glob("sys/class/devfreq/*/cur_freq")
        if re.search(r"\.(gpu|ga10b|gv11b|gp10b)$|^gpu-gpc", path.parent.name)
    )
    return max(found) / 1e6 if found else None


def overcurrent_events(root: Path) -> int | None:
    """Return how often the board has throttled for its supply; None: it does not count."""
    found = numbers(root.glob("sys/class/hwmon/hwmon*/oc*_event_cnt"))
    return int(sum(found)) if found else None


class TegrastatsReader:
    """A running ``tegrastats``, of which the newest line is read without waiting."""

    def __init__(self, command: str = "tegrastats") -> None:
        self._process = subprocess.Popen(
            [command, "--interval", "1000"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._rest = b""
        self._last = Tegrastats()

    def newest(self) -> Tegrastats:
        """Return what the last whole line says; nothing known before the first."""
        assert self._process.stdout is not None
        self._rest += self._process.stdout.read() or b""
        *lines, self._rest = self._rest.split(b"\n")
        if lines:
            self._last = parse_tegrastats(lines[-1].decode(errors="replace"))
        return self._last

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
