"""Progress of a build, through TensorRT's own monitor."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Report", "make_monitor"]


class Report(Protocol):
    """Who is told of the phases of a build; they nest by ``parent``."""

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins."""

    def step(self, phase: str, step: int) -> None:
        """Step number ``step``, from 0, is done."""

    def finish(self, phase: str) -> None:
        """A phase is over, or was left."""


def make_monitor(trt: Any, report: Report) -> Any | None:
    """Return a ``trt.IProgressMonitor``, or None where this version has none.

    An exception, Ctrl-C included, must not pass through TensorRT: it is kept in ``stopped`` and
    the build is asked to end.
    """
    base: Any = getattr(trt, "IProgressMonitor", None)
    if base is None:
        return None

    class Monitor(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self.stopped: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._tell(report.start, phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(report.step, phase_name, step)
            return self.stopped is None

        def phase_finish(self, phase_name: str) -> None:
            self._tell(report.finish, phase_name)

        def _tell(self, what: Any, *arguments: Any) -> None:
            try:
                what(*arguments)
            except BaseException as error:
                self.stopped = error

    return Monitor()
