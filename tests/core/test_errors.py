"""The errors of the package and their exit codes."""

from __future__ import annotations

import pytest

from edge_bts import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.EdgeBtsError, 1),
        (errors.InputError, 2),
        (errors.EnvironmentMismatchError, 3),
        (errors.SelfTestError, 3),
        (errors.AccuracyGateError, 4),
        (errors.LatencyGateError, 5),
        (errors.MeasurementError, 6),
        (errors.IntegrityError, 7),
    ],
)
def test_exit_codes_are_the_documented_ones(error: type[errors.EdgeBtsError], code: int) -> None:
    """Scripts rely on the numbers; they never change."""
    assert error.exit_code == code
    assert issubclass(error, errors.EdgeBtsError)
