"""The state of the device while it is measured: clocks, heat, power, what slows it down.

Everything is read from files and tools that need no root. What cannot be read is None, which every
report shows as "unknown"; it is never zero.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from edge_bts.benchmarks import jetson, nvidia
from edge_bts.benchmarks.sysfs import numbers, read_number, read_text
from edge_bts.tensorrt import jetpack

__all__ = ["Device", "Sampler", "State", "describe_device"]

_ROOT = Path("/")


class State(BaseModel):
    """The device at one moment.

    Attributes:
        at_s: Seconds since the first.
        row: Whose turn it was.
        cpu_mhz: Of the fastest core, which is the one that computes.
        gpu_mhz: Of the GPU, where there is one.
        temperature_c: The hottest sensor.
        power_w: Drawn now; of what, says :attr:`Device.power`.
        throttled: Slow-downs that the device has counted since it was started.
        throttling: What slows it down now.
        mode: Governor or power mode.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_s: float
    row: str
    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    throttled: int | None = None
    throttling: tuple[str, ...] = ()
    mode: str | None = None


class Device(BaseModel):
    """What does not change meanwhile; None is unknown.

    Attributes:
        governor: Of the CPU clock.
        power_mode: Of a Jetson (``nvpmodel``).
        clocks_locked: By ``jetson_clocks``, or because least and greatest CPU clock are the same.
        board: As its firmware calls it.
        l4t: Release of a Jetson's system.
        gpus: Name and driver of each card.
        power: What the power figures are of, e.g. ``RAPL: CPU package``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    governor: str | None = None
    power_mode: str | None = None
    clocks_locked: bool | None = None
    board: str | None = None
    l4t: str | None = None
    gpus: list[str] = []
    power: str | None = None


def describe_device(root: Path = _ROOT) -> Device:
    """Describe the device once.

    Args:
        root: Where its file system begins; another than ``/`` in tests, which then asks no tools.
    """
    tools = root == _ROOT
    show = _run("jetson_clocks", "--show") if tools else None
    cards = nvidia.read_cards() if tools else []
    rails = jetson.total_mw(jetson.rails_mw(root))
    if rails is not None:
        power: str | None = f"INA3221, {rails[1]}"
    elif _rapl(root):
        power = "RAPL: CPU package"
    else:
        power = "NVML: GPU" if any(card.power_w is not None for card in cards) else None
    return Device(
        governor=_governor(root),
        power_mode=jetpack.power_mode() if tools else None,
        clocks_locked=jetson.clocks_are_locked(show) if show else _locked(root),
        l4t=jetpack.l4t(root),
        board=jetpack.board(root),
        gpus=[f"{card.name}, driver {card.driver or 'unknown'}" for card in cards],
        power=power,
    )


class Sampler:
    """Reads the state again and again, and counts energy. Close it at the end.

    Args:
        root: As for :func:`describe_device`.
    """

    def __init__(self, root: Path = _ROOT) -> None:
        tools = root == _ROOT
        self._root = root
        self._card = tools and shutil.which("nvidia-smi") is not None
        self._rails = bool(jetson.rails_mw(root))
        self._counted = _rapl(root)
        self._tegra = (
            jetson.TegrastatsReader() if tools and shutil.which("tegrastats") is not None else None
        )
        self._started = time.perf_counter()
        self.states: list[State] = []

    @property
    def pause_s(self) -> float:
        """How long to wait between two samples: power that is not counted must be caught."""
        return 0.1 if self._rails else 1.0

    def sample(self, row: str) -> None:
        """Read the state once and keep it; of two sources the files come first."""
        root = self._root
        heat = _temperatures(root)
        clock, gpu = _cpu_mhz(root), jetson.gpu_mhz(root)
        rails = jetson.rails_mw(root) if self._rails else {}
        causes: tuple[str, ...] = ()
        power: float | None = None
        if self._tegra is not None:
            said = self._tegra.newest()
            heat += said.temperatures_c.values()
            clock = max(said.cpu_mhz, default=None) if clock is None else clock
            gpu = said.gpu_mhz if gpu is None else gpu
            rails = rails or dict[str, float](said.rails_mw)
        if (total := jetson.total_mw(rails)) is not None:
            power = total[0] / 1e3
        if self._card and (cards := nvidia.read_cards()):
            heat += [c.temperature_c for c in cards[:1] if c.temperature_c is not None]
            gpu = cards[0].sm_mhz if gpu is None else gpu
            causes = cards[0].throttling
            power = cards[0].power_w if power is None and not self._counted else power
        events = [n for n in (_cpu_events(root), jetson.overcurrent_events(root)) if n is not None]
        self.states.append(
            State(
                at_s=round(time.perf_counter() - self._started, 3),
                row=row,
                cpu_mhz=clock,
                gpu_mhz=gpu,
                temperature_c=max(heat, default=None),
                power_w=power,
                throttled=sum(events) if events else None,
                throttling=causes,
                mode=_governor(root),
            )
        )

    def joules(self) -> float | None:
        """Return the energy counter of the CPU packages; None where none can be read."""
        found = numbers(folder / "energy_uj" for folder in self._counted)
        return sum(found) / 1e6 if found else None

    def spent(self, before: float | None, first_state: int, seconds: float) -> float | None:
        """Return the joules of a turn, idle power included; None: unknown.

        Args:
            before: What :meth:`joules` returned when it began.
            first_state: How many states there were when it began.
            seconds: How long it took.
        """
        after = self.joules()
        if before is not None and after is not None:
            # A counter that ran over has started again at zero.
            ranges = numbers(folder / "max_energy_range_uj" for folder in self._counted)
            return after - before if after >= before else after - before + sum(ranges) / 1e6
        powers = [s.power_w for s in self.states[first_state:] if s.power_w is not None]
        return sum(powers) / len(powers) * seconds if powers else None

    def close(self) -> None:
        """End what was started."""
        if self._tegra is not None:
            self._tegra.close()


def _rapl(root: Path) -> list[Path]:
    """Return the folders of the CPU packages that may be read."""
    return [
        folder
        for folder in sorted(root.glob("sys/class/powercap/*-rapl:*"))
        if folder.name.count(":") == 1 and read_number(folder / "energy_uj") is not None
    ]


def _cpu_mhz(root: Path) -> float | None:
    found = numbers(root.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"))
    return max(found) / 1e3 if found else None


def _governor(root: Path) -> str | None:
    paths = root.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
    return ", ".join(sorted({read_text(path) for path in paths} - {""})) or None


def _locked(root: Path) -> bool | None:
    pairs = [
        (read_number(path), read_number(path.with_name("scaling_max_freq")))
        for path in root.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_min_freq")
    ]
    known = [(low, high) for low, high in pairs if low is not None and high is not None]
    return all(low == high for low, high in known) if known else None


def _temperatures(root: Path) -> list[float]:
    patterns = ("sys/class/thermal/thermal_zone*/temp", "sys/class/hwmon/hwmon*/temp*_input")
    found = numbers(path for pattern in patterns for path in root.glob(pattern))
    return [value / 1e3 for value in found if value / 1e3 > jetson.COLDEST_C]


def _cpu_events(root: Path) -> int | None:
    found = numbers(root.glob("sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count"))
    return int(sum(found)) if found else None


def _run(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
