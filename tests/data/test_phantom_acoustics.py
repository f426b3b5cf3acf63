"""The speckle against its theory, and the signs behind a lesion against decibels."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from edge_bts.data.phantom import Scanner, simulate, speckle
from edge_bts.data.phantom.scene import draw_scene

SPACING = 0.1
SCANNER = Scanner(focus_mm=16.0, focal_zone_mm=8.0)


def independent(envelope: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return samples more than two resolution cells apart."""
    return envelope[3::8, 5::36].ravel()


def lateral_fwhm_mm(envelope: npt.NDArray[np.float32]) -> float:
    """Return the width at half height of the intensity's lateral autocovariance."""
    intensity = envelope.astype(np.float64) ** 2
    intensity -= intensity.mean()
    spectrum = np.abs(np.fft.rfft(intensity, 2 * intensity.shape[1], axis=1)) ** 2
    covariance = np.fft.irfft(spectrum.mean(axis=0))[:60]
    covariance /= covariance[0]
    half = int(np.argmax(covariance < 0.5))
    above, below = covariance[half - 1], covariance[half]
    return 2 * SPACING * float(half - 1 + (above - 0.5) / (above - below))


def test_envelope_snr_is_that_of_rayleigh_speckle() -> None:
    """Mean over standard deviation is sqrt(pi / (4 - pi)) = 1.913, within 3 % over 8 fields."""
    ratios = [float(e.mean() / e.std()) for e in (speckle(s, 384, 512) for s in range(8))]
    assert np.mean(ratios) == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.03)


def test_envelope_is_rayleigh_distributed() -> None:
    """A Kolmogorov-Smirnov test cannot tell decorrelated samples from a Rayleigh law."""
    _, scale = stats.rayleigh.fit(independent(speckle(1, 640, 768)), floc=0)
    samples = np.concatenate([independent(speckle(s, 640, 768)) for s in (2, 3)])
    assert samples.size > 3000
    assert stats.kstest(samples, "rayleigh", args=(0, scale)).pvalue > 0.01


def test_the_test_of_the_distribution_can_fail() -> None:
    """The same test rejects compounded speckle, which is not Rayleigh."""
    looks = [independent(speckle(s, 640, 768)) for s in range(4)]
    samples = np.mean(looks, axis=0)
    _, scale = stats.rayleigh.fit(samples, floc=0)
    assert stats.kstest(samples, "rayleigh", args=(0, scale)).pvalue < 1e-6


@pytest.mark.parametrize("depth_mm", [16.0, 24.0, 29.0])
def test_speckle_is_as_wide_as_the_beam(depth_mm: float) -> None:
    """The autocovariance of intensity has the width of the Gaussian beam at that depth."""
    row = round(depth_mm / SPACING)
    widths = [
        lateral_fwhm_mm(
            speckle(s, 320, 1024, spacing_mm=SPACING, scanner=SCANNER)[row - 8 : row + 8]
        )
        for s in range(6)
    ]
    assert np.mean(widths) == pytest.approx(SCANNER.beam_fwhm_mm(depth_mm), rel=0.12)


def test_speckle_widens_away_from_the_focus() -> None:
    """Speckle is widest far from the focus and narrowest at it."""
    envelope = np.hstack([speckle(s, 320, 512, scanner=SCANNER) for s in range(4)])
    shallow, focal, deep = (lateral_fwhm_mm(envelope[r : r + 16]) for r in (2, 152, 300))
    assert shallow > 1.5 * focal
    assert deep > 1.5 * focal


def behind(seed: int, posterior_db: float) -> float:
    """Return the mean level in dB behind a benign mass with the given posterior effect."""
    scanner = Scanner(level=0.55, gamma=1.0, looks=2, noise_db=-140, dynamic_range_db=80)
    drawn = draw_scene(seed, "benign", height=320, width=384, spacing_mm=0.12).lesion
    assert drawn is not None
    lesion = dataclasses.replace(
        drawn, x_mm=23.0, z_mm=12.0, width_mm=14.0, height_mm=7.0, edge_db=0.0,
        tilt=0.0, harmonics=(), posterior_db=posterior_db,
    )  # fmt: skip
    image = simulate(seed, "benign", spacing_mm=0.12, scanner=scanner, lesion=lesion).image
    column, top = round(23.0 / 0.12), round(16.5 / 0.12)
    patch = image[top : top + 40, column - 12 : column + 12]
    return float(patch.mean()) / 255 * scanner.dynamic_range_db


def test_posterior_effect_is_the_asked_decibels() -> None:
    """Behind the middle of a mass the picture is brighter or darker by its posterior effect."""
    plain, enhanced, shadowed = (
        np.mean([behind(seed, effect) for seed in range(3)]) for effect in (0.0, 8.0, -12.0)
    )
    assert enhanced - plain == pytest.approx(8.0, rel=0.15)
    assert shadowed - plain == pytest.approx(-12.0, rel=0.15)
