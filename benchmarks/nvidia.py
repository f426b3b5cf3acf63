"""What the driver of an NVIDIA card says: its clocks, heat, power and why it slows down.

Asked through ``nvidia-smi``, which comes with every driver and speaks NVML.
"""

from __future__ import annotations

import subprocess

from pydantic import BaseModel, ConfigDict

__all__ = ["Card", "parse_smi", "read_cards"]

_FIELDS = (
    *("name", "driver_version", "pstate", "clocks.sm", "clocks.mem", "clocks.max.sm"),
    *("temperature.gpu", "power.draw", "power.limit", "utilization.gpu", "memory.used"),
    "clocks_throttle_reasons.active",
)
# Of nvmlClocksEventReasons: those that slow a card down against its will. Idle (1) and clocks that
# somebody set (2) are not among them.
_CAUSES = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "heat (software)",
    0x40: "heat (hardware)",
    0x80: "power brake",
}


class Card(BaseModel):
    """One card, now; None is what it does not tell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    driver: str | None
    state: str | None
    sm_mhz: float | None
    memory_mhz: float | None
    max_sm_mhz: float | None
    temperature_c: float | None
    power_w: float | None
    limit_w: float | None
    load: float | None
    memory_mib: float | None
    throttling: tuple[str, ...]


def parse_smi(text: str) -> list[Card]:
    """Read what ``nvidia-smi --query-gpu=... --format=csv,noheader,nounits`` printed.

    Lines that are no card, such as an error, are left out.
    """
    cards = []
    for line in text.splitlines():
        values = [None if v.startswith("[") else v for v in map(str.strip, line.split(","))]
        if len(values) != len(_FIELDS) or values[0] is None:
            continue
        numbers = [_number(value) for value in values[3:11]]
        cards.append(
            Card(
                name=values[0],
                driver=values[1],
                state=values[2],
                sm_mhz=numbers[0],
                memory_mhz=numbers[1],
                max_sm_mhz=numbers[2],
                temperature_c=numbers[3],
                power_w=numbers[4],
                limit_w=numbers[5],
                load=numbers[6],
                memory_mib=numbers[7],
                throttling=_causes(values[11]),
            )
        )
    return cards


def read_cards() -> list[Card]:
    """Ask the driver; [] where there is none."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_smi(done.stdout) if done.returncode == 0 else []


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _causes(mask: str | None) -> tuple[str, ...]:
    try:
        bits = int(mask or "0", 16)
    except ValueError:
        return ()
    return tuple(cause for bit, cause in _CAUSES.items() if bits & bit)
