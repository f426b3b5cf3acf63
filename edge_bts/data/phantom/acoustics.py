"""How a linear-array scanner sees tissue: scatterers, point-spread function, display.

The model is the linear one that Field II made standard (Jensen, "Field: a program for simulating
ultrasound systems", Med. Biol. Eng. Comput. 34, 1996): the echo is the sum of the pulses of many
point scatterers, here as the complex baseband signal, so that a scatterer at depth z carries the
phase ``exp(-4j pi f z / c)`` of the carrier and the pulse is its envelope. With many scatterers in
a resolution cell the envelope is Rayleigh distributed and its mean is 1.91 times its standard
deviation (Wagner, Smith, Sandrik and Lopez, "Statistics of speckle in ultrasound B-scans",
IEEE Trans. Sonics Ultrason. 30(3), 1983).

Simplifications: only the magnitude of the beam is modelled, not its wavefront; beams are vertical;
attenuation does not lower the centre frequency; there is no multiple scattering.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge_bts.data.phantom.grid import Float, Grid, Tissue, UInt8

__all__ = ["SOUND_MM_PER_US", "Scanner", "Scatterers", "display", "focus", "form", "speckle"]

SOUND_MM_PER_US = 1.54
_ZONES = 8
_BLUR_ROWS = 4
_SIGMAS_PER_FWHM = 2.3548
_CLUTTER = 0.018  # side lobes: amplitude that leaks in from the neighbourhood, about -35 dB


@dataclass(frozen=True)
class Scanner:
    """Settings of the probe and of the display.

    Attributes:
        frequency_mhz: Centre frequency.
        axial_fwhm_mm: Length of the pulse's envelope, two-way.
        lateral_fwhm_mm: Width of the beam at the focus, two-way.
        slice_fwhm_mm: Elevational width of the beam.
        focus_mm: Depth of the focus.
        focal_zone_mm: Distance from the focus at which the beam is wider by the root of 2.
        looks: Compounded steering angles; each adds independent speckle.
        tgc_db_per_mm: Time gain compensation, two-way.
        tgc_error_db: Wrong setting of the gain's four sliders, from shallow to deep.
        noise_db: Electronics noise at the probe's face against the echo of glandular tissue.
        dynamic_range_db: Range of the log compression.
        level: Grey value of the mean glandular echo, 0 to 1.
        gamma: Exponent of the grey map.
    """

    frequency_mhz: float = 9.0
    axial_fwhm_mm: float = 0.26
    lateral_fwhm_mm: float = 0.5
    slice_fwhm_mm: float = 1.4
    focus_mm: float = 16.0
    focal_zone_mm: float = 9.0
    looks: int = 1
    tgc_db_per_mm: float = 1.1
    tgc_error_db: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    noise_db: float = -80.0
    dynamic_range_db: float = 60.0
    level: float = 0.6
    gamma: float = 1.1

    @classmethod
    def draw(cls, rng: np.random.Generator, depth_mm: float) -> Scanner:
        """Draw settings that a sonographer could have chosen for ``depth_mm``."""
        frequency = float(rng.uniform(7.0, 12.0))
        wavelength = SOUND_MM_PER_US / frequency
        sliders = [float(v) for v in rng.normal(0.0, 1.8, 4)]
        return cls(
            frequency_mhz=frequency,
            axial_fwhm_mm=wavelength * float(rng.uniform(1.1, 1.6)),
            lateral_fwhm_mm=wavelength * float(rng.uniform(2.6, 3.8)),
            slice_fwhm_mm=float(rng.uniform(1.0, 1.8)),
            focus_mm=depth_mm * float(rng.uniform(0.3, 0.6)),
            focal_zone_mm=float(rng.uniform(9.0, 16.0)),
            looks=int(rng.choice([1, 2, 3, 4, 5], p=[0.05, 0.2, 0.3, 0.25, 0.2])),
            tgc_db_per_mm=0.2 * frequency * float(rng.uniform(0.58, 0.68)),
            tgc_error_db=(sliders[0], sliders[1], sliders[2], sliders[3]),
            noise_db=float(rng.uniform(-86.0, -70.0)),
            dynamic_range_db=float(rng.uniform(52.0, 66.0)),
            level=float(rng.uniform(0.52, 0.66)),
            gamma=float(rng.uniform(1.0, 1.3)),
        )

    def beam_fwhm_mm(self, depth_mm: float) -> float:
        """Return the beam's lateral width at a depth: a hyperbola about the focus."""
        away = (depth_mm - self.focus_mm) / self.focal_zone_mm
        return float(self.lateral_fwhm_mm * np.sqrt(1 + away * away))


@dataclass(frozen=True)
class Scatterers:
    """Point scatterers, one a pixel on average: ``columns`` and ``rows`` in pixels, flat arrays.

    A resolution cell covers some ten pixels, which is enough for fully developed speckle.
    """

    columns: Float
    rows: Float

    @classmethod
    def draw(cls, rng: np.random.Generator, grid: Grid) -> Scatterers:
        """Draw uniformly random places in ``grid``, margin included."""
        rows, columns = grid.shape
        x, z = rng.random((2, rows * columns), dtype=np.float32)
        return cls(
            x * np.float32(columns - 1),
            z * np.float32(rows - 1),
        )

    def field(self, grid: Grid, scanner: Scanner) -> Float:
        """Return the baseband field on ``grid``: rows x columns x 2 (real, imaginary), variance 1.

        Each scatterer is shared out bilinearly, so the field moves smoothly with its scatterers.
        """
        turns = np.float32(4 * np.pi * scanner.frequency_mhz / SOUND_MM_PER_US * grid.spacing_mm)
        phase = self.rows * turns
        rows, columns = grid.shape
        column, row = np.floor(self.columns), np.floor(self.rows)
        fx, fz = self.columns - column, self.rows - row
        inside = (column >= 0) & (row >= 0) & (column < columns - 1) & (row < rows - 1)
        index = np.where(inside, row * columns + column, 0).astype(np.int64)
        total = np.zeros((2, rows * columns))
        amplitude = inside.astype(np.float32)
        for part, wave in enumerate((np.cos(phase), np.sin(phase))):
            value = amplitude * wave
            for offset, share in (
                (0, (1 - fx) * (1 - fz)),
                (1, fx * (1 - fz)),
                (columns, (1 - fx) * fz),
                (columns + 1, fx * fz),
            ):
                # The last row and column are never a lower neighbour, so the index stays inside.
                counts = np.bincount(index + offset, value * share, rows * columns)
                total[part] += counts[: rows * columns]
        return np.ascontiguousarray(total.T.reshape(rows, columns, 2), np.float32)


def focus(field: Float, grid: Grid, scanner: Scanner) -> Float:
    """Convolve the baseband ``field`` with the scanner's depth-dependent point-spread function.

    The depth is cut into zones; each has its own separable Gaussian, and neighbours are blended
    linearly. Kernels have unit energy: white noise of unit variance comes out with unit variance.
    """
    rows = field.shape[0]
    centres = np.linspace(0, rows - 1, _ZONES)
    out = np.zeros_like(field)
    position = np.arange(rows, dtype=np.float32)
    # A display pixel is never finer than the pulse: about two pixels at least.
    axial = _kernel(max(scanner.axial_fwhm_mm / grid.spacing_mm, 1.9))
    for zone, centre in enumerate(centres):
        width = scanner.beam_fwhm_mm((float(centre) + 0.5) * grid.spacing_mm)
        lateral = _kernel(max(width / grid.spacing_mm, 1.9))
        low = 0 if zone == 0 else int(np.floor(centres[zone - 1]))
        high = rows if zone == _ZONES - 1 else int(np.ceil(centres[zone + 1])) + 1
        pad = len(axial) // 2
        start, stop = max(0, low - pad), min(rows, high + pad)
        part = cv2.sepFilter2D(field[start:stop], cv2.CV_32F, lateral, axial)
        step = centres[1] - centres[0]
        weight = np.clip(1 - np.abs(position[low:high] - centre) / step, 0, 1).astype(np.float32)
        out[low:high] += part[low - start : high - start] * weight[:, None, None]
    return out


def form(tissue: Tissue, fields: list[Float], rng: np.random.Generator, scanner: Scanner) -> UInt8:
    """Form the B-mode image of ``tissue``.

    Args:
        tissue: Maps of the tissue on its grid.
        fields: Baseband scatterer fields of variance 1 (rows x columns x 2), one a look.
        rng: Source of the electronics noise.
        scanner: Settings.

    Returns:
        The picture without the margin, height x width, uint8.
    """
    grid = tissue.grid
    amplitude, gain = _received(tissue, scanner)
    sheets = (tissue.specular * gain)[:, :, None] * tissue.phase
    noise_gain = 10 ** ((scanner.noise_db + scanner.tgc_db_per_mm * grid.z()) / 20)
    envelope = np.zeros(grid.shape, np.float32)
    for field in fields:
        echo = focus(field * amplitude[:, :, None] + sheets, grid, scanner)
        noise = rng.standard_normal(echo.shape, dtype=np.float32)
        echo += noise * noise_gain[:, :, None].astype(np.float32)
        envelope += cv2.magnitude(echo[:, :, 0], echo[:, :, 1])
    return display(grid.crop(envelope / np.float32(len(fields))), scanner)


def display(envelope: Float, scanner: Scanner) -> UInt8:
    """Return the log-compressed 8-bit picture of an envelope (1 = mean glandular echo)."""
    level_db = 20 * np.log10(np.maximum(envelope, np.float32(1e-6)))
    grey = np.clip(scanner.level + level_db / scanner.dynamic_range_db, 0, 1)
    # Scan conversion interpolates between the beams: a slight blur.
    grey = cv2.GaussianBlur(grey.astype(np.float32), (3, 3), 0.55)
    return np.asarray(np.rint(255 * grey**scanner.gamma), np.uint8)


def speckle(
    seed: int,
    height: int = 320,
    width: int = 384,
    *,
    spacing_mm: float = 0.1,
    scanner: Scanner | None = None,
) -> Float:
    """Return the envelope of homogeneous, fully developed speckle.

    No attenuation, no noise, no compression, one look: the envelope is Rayleigh distributed.

    Args:
        seed: The same seed gives the same bytes.
        height: Rows.
        width: Columns.
        spacing_mm: Pixel spacing.
        scanner: Settings; default ``Scanner()``.

    Returns:
        height x width float32, positive, mean square about 1.
    """
    grid = Grid(height, width, spacing_mm)
    scanner = Scanner() if scanner is None else scanner
    field = Scatterers.draw(np.random.default_rng(seed), grid).field(grid, scanner)
    echo = focus(field, grid, scanner)
    return np.asarray(cv2.magnitude(echo[:, :, 0], echo[:, :, 1]), np.float32)


def _received(tissue: Tissue, scanner: Scanner) -> tuple[Float, Float]:
    """Return the diffuse amplitude and the gain that sheets see: attenuation and TGC applied."""
    grid = tissue.grid
    loss = _path_loss(tissue.loss_db_per_mm, grid, scanner)
    knots = np.linspace(0, grid.depth_mm, len(scanner.tgc_error_db))
    error = np.interp(grid.z()[:, 0], knots, scanner.tgc_error_db)[:, None]
    gain_db = (scanner.tgc_db_per_mm * grid.z() + error).astype(np.float32) - loss
    gain: Float = np.exp(gain_db * np.float32(np.log(10) / 20))
    diffuse = gain * np.exp(tissue.echo_db * np.float32(np.log(10) / 20))
    reach = max(3, round(3.0 / grid.spacing_mm)) | 1
    amplitude: Float = diffuse + np.float32(_CLUTTER) * cv2.blur(diffuse, (reach, reach // 2 | 1))
    return amplitude, gain


def _path_loss(loss_db_per_mm: Float, grid: Grid, scanner: Scanner) -> Float:
    """Return the two-way loss in dB down to each pixel.

    A beam has a width, and compounding looks from several angles: a shadow starts as wide as the
    beam and its edges soften on the way down. Every few rows the loss so far is blurred a little.
    """
    step = loss_db_per_mm * np.float32(grid.spacing_mm)
    loss = np.empty(grid.shape, np.float32)
    beam = _kernel(max(scanner.lateral_fwhm_mm / grid.spacing_mm, 1.9))
    step = cv2.sepFilter2D(step, cv2.CV_32F, beam / beam.sum(), np.ones(1, np.float32))
    spread_mm = 0.12 * np.sqrt(scanner.looks * _BLUR_ROWS * grid.spacing_mm)
    blur = _kernel(max(_SIGMAS_PER_FWHM * spread_mm / grid.spacing_mm, 0.5))
    blur /= blur.sum()
    so_far = np.zeros((1, step.shape[1]), np.float32)
    for start in range(0, len(step), _BLUR_ROWS):
        block = so_far + np.cumsum(step[start : start + _BLUR_ROWS], axis=0, dtype=np.float32)
        loss[start : start + _BLUR_ROWS] = block
        so_far = np.asarray(
            cv2.sepFilter2D(block[-1:], cv2.CV_32F, blur, np.ones(1, np.float32)), np.float32
        )
    return loss


def _kernel(fwhm_px: float) -> Float:
    sigma = fwhm_px / _SIGMAS_PER_FWHM
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(kernel / np.sqrt(np.sum(kernel**2)), np.float32)
