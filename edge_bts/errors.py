"""The errors that a user can meet, each with its documented exit code.

A message has three parts in one sentence or two: what was expected, what came, what to do.
The command line prints the message alone and exits with ``exit_code``; a library user catches
the class. Anything else that escapes is a defect of ours (exit code 1).
"""

from __future__ import annotations


class EdgeBtsError(Exception):
    """Base of every deliberate error; ``exit_code`` is what the command line returns."""

    exit_code = 1


class InputError(EdgeBtsError):
    """Usage or bad input: a file, a folder, an option, an image (exit code 2)."""

    exit_code = 2


class EnvironmentMismatchError(EdgeBtsError):
    """A package, device or version that the request needs is not here (exit code 3)."""

    exit_code = 3


class SelfTestError(EnvironmentMismatchError):
    """A library, CPU or driver here computes other golden frames than export (exit code 3)."""


class StalledError(EdgeBtsError):
    """A live session had frames and gave no result for too long (exit code 1)."""


class AccuracyGateError(EdgeBtsError):
    """An export lost more accuracy than its gate allows (exit code 4)."""

    exit_code = 4


class LatencyGateError(EdgeBtsError):
    """An export is slower than its gate allows (exit code 5)."""

    exit_code = 5


class MeasurementError(EdgeBtsError):
    """A measurement is not valid: too short, throttled, clock moved (exit code 6)."""

    exit_code = 6


class IntegrityError(EdgeBtsError):
    """A hash or a signature does not match what it protects (exit code 7)."""

    exit_code = 7
