"""The little of a plotting library that a page needs: axes and marks as inline SVG.

Colours are classes of the page's style sheet, so that a plot follows light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

__all__ = ["Axis", "Plot", "linear", "log"]

_WIDTH, _HEIGHT = 420, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 42


class Axis:
    """A range of values with its ticks, mapped to 0..1."""

    def __init__(
        self, low: float, high: float, ticks: Sequence[tuple[float, str]], *, logarithmic: bool
    ) -> None:
        self.low, self.high, self.ticks = low, high, ticks
        self._map = math.log if logarithmic else float

    def __call__(self, value: float) -> float:
        """Return where ``value`` lies between low (0) and high (1)."""
        low, high = self._map(self.low), self._map(self.high)
        return (self._map(min(max(value, self.low), self.high)) - low) / (high - low)


def linear(low: float, high: float, ticks: Sequence[float], text: str = "{:g}") -> Axis:
    """Return a linear axis."""
    return Axis(low, high, [(tick, text.format(tick)) for tick in ticks], logarithmic=False)


def log(values: Sequence[float], steps: Sequence[float] = (1, 2, 5), base: int = 10) -> Axis:
    """Return a logarithmic axis around positive values, with ticks at ``steps`` of each power.

    Fewer than three would not tell the scale: a short range has finer ones.
    """
    low, high = min(values) / 1.15, max(values) * 1.15
    first, last = math.floor(math.log(low, base)), math.ceil(math.log(high, base))

    def ticks(steps: Sequence[float]) -> list[float]:
        every = (step * float(base) ** n for n in range(first, last + 1) for step in steps)
        return [tick for tick in every if low <= tick <= high]

    inside = ticks(steps)
    if len(inside) < 3 and base == 10:  # a short range
        inside = ticks((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9))
    if len(inside) > 7:
        inside = [tick for tick in inside if math.log(tick, base) % 1 < 1e-9]
    return Axis(low, high, [(tick, f"{tick:,.6g}") for tick in inside], logarithmic=True)


class Plot:
    """One plot; marks are drawn in the order of the calls, on top of the grid."""

    def __init__(self, x: Axis, y: Axis, x_label: str, y_label: str, height: int = _HEIGHT) -> None:
        self._x, self._y, self._height = x, y, height
        self._parts: list[str] = []
        bottom = height - _BOTTOM
        for value, text in y.ticks:
            at = self._down(value)
            self._add(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" {_y(at, at)}/>')
            self._text(_LEFT - 6, at + 4, text, "tick end")
        for value, text in x.ticks:
            at = self._across(value)
            self._add(f'<line class="axis" {_x(at, at)} y1="{bottom}" y2="{bottom + 4}"/>')
            self._text(at, bottom + 16, text, "tick mid")
        self._add(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" {_y(bottom, bottom)}/>')
        self._text((_LEFT + _WIDTH - _RIGHT) / 2, height - 6, x_label, "label mid")
        middle = (_TOP + bottom) / 2
        self._add(
            f'<text class="label mid" transform="translate(11 {middle:.1f}) rotate(-90)">'
            f"{escape(y_label)}</text>"
        )

    def bar(self, left: float, right: float, low: float, high: float, style: str, tip: str) -> None:
        """Draw a bar between two values of each axis."""
        x, end = self._across(left) + 1, self._across(right) - 1
        top, foot = sorted((self._down(low), self._down(high)))
        self._add(
            f'<rect class="{style}" x="{x:.1f}" y="{top:.1f}" width="{end - x:.1f}" '
            f'height="{foot - top:.1f}"><title>{escape(tip)}</title></rect>'
        )

    def point(self, x: float, y: float, style: str, tip: str) -> None:
        """Draw a point: a disc, or a diamond where the style ends so."""
        across, down = self._across(x), self._down(y)
        title = f"<title>{escape(tip)}</title>"
        if style.endswith("diamond"):
            path = f"M{across:.1f} {down - 4.6:.1f}l4.6 4.6-4.6 4.6-4.6-4.6z"
            self._add(f'<path class="dot {style}" d="{path}">{title}</path>')
        else:
            self._add(
                f'<circle class="dot {style}" cx="{across:.1f}" cy="{down:.1f}" r="3.6">{title}'
                "</circle>"
            )

    def curve(self, points: Sequence[tuple[float, float]], style: str, tip: str) -> None:
        """Draw a line through points."""
        path = "L".join(f"{self._across(x):.1f} {self._down(y):.1f}" for x, y in points)
        self._add(f'<path class="curve {style}" d="M{path}"><title>{escape(tip)}</title></path>')

    def level(self, y: float, style: str, text: str = "") -> None:
        """Draw a horizontal line with its text at the right end."""
        at = self._down(y)
        self._add(f'<line class="{style}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" {_y(at, at)}/>')
        if text:
            self._text(_WIDTH - _RIGHT - 2, at - 4, text, "note end")

    def mark(self, x: float, style: str, text: str = "") -> None:
        """Draw a vertical line with its text at the top."""
        at = self._across(x)
        self._add(
            f'<line class="{style}" {_x(at, at)} y1="{_TOP}" y2="{self._height - _BOTTOM}"/>',
        )
        if text:
            left = at > (_LEFT + _WIDTH - _RIGHT) / 2
            self._text(at + (-5 if left else 5), _TOP + 9, text, f"note {'end' if left else ''}")

    def note(self, x: float, y: float, text: str, lift: float = 0.0) -> None:
        """Write a text that starts at a value of each axis, or ``lift`` units of the plot above."""
        self._text(self._across(x) + 5, self._down(y) - lift, text, "note")

    def svg(self, name: str) -> str:
        """Return the plot; ``name`` is what a screen reader says."""
        return (
            f'<svg class="plot" viewBox="0 0 {_WIDTH} {self._height}" role="img" '
            f'aria-label="{escape(name)}">{"".join(self._parts)}</svg>'
        )

    def _across(self, value: float) -> float:
        return _LEFT + self._x(value) * (_WIDTH - _LEFT - _RIGHT)

    def _down(self, value: float) -> float:
        inside = self._height - _TOP - _BOTTOM
        return self._height - _BOTTOM - self._y(value) * inside

    def _text(self, x: float, y: float, text: str, style: str) -> None:
        self._add(f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>')

    def _add(self, part: str) -> None:
        self._parts.append(part)


def _x(first: float, second: float) -> str:
    return f'x1="{first:.1f}" x2="{second:.1f}"'


def _y(first: float, second: float) -> str:
    return f'y1="{first:.1f}" y2="{second:.1f}"'
