"""Augmentation: geometry against SciPy, gray changes against the physics they claim."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor
from torch.nn import functional as F

from edge_bts.cli import main
from edge_bts.config import settings
from edge_bts.errors import InputError
from edge_bts.trainers.augment import CHANGES, Augment, AugmentSettings, reasons, warp
from edge_bts.trainers.augment import echo as echo_module
from edge_bts.trainers.augment.draw import grain, smooth

SPACE = ("flip", "affine", "elastic")
GRAY = tuple(name for name in CHANGES if name not in SPACE)
S = 64


def scans(count: int = 4, size: int = S) -> tuple[Tensor, Tensor]:
    """Smooth pictures between black bands, and a disc as lesion."""
    image = 0.5 + 0.15 * smooth((count, 1), (size, 12), (size, 12))
    image = image.clamp(0.05, 0.95)
    image[:, :, : size // 8] = image[:, :, -size // 8 :] = 0
    at = torch.arange(size) - size / 2
    mask = (at[:, None] ** 2 + at**2 < (size / 6) ** 2).float().expand(count, 1, -1, -1)
    return image, mask.clone()


def always(**strengths: object) -> Augment:
    """Augmentation in which only what is named happens."""
    return Augment(AugmentSettings.off(**strengths))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


# In space


def test_images_lie_where_the_grid_says() -> None:
    """Each pixel is SciPy's linear interpolation of the stored square at the grid's place."""
    image, mask = scans()
    moved = always(flip=0.5, affine=1, elastic=1, rotate_degrees=40)(image, mask)
    for before, after, grid in zip(image, moved.image, moved.grid, strict=True):
        x, y = (((grid.double() + 1) * S - 1) / 2).unbind(-1)
        expected = ndimage.map_coordinates(
            before[0].numpy(), [y.numpy(), x.numpy()], order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(after[0].numpy(), expected, atol=1e-4)
    assert (moved.image - image).abs().mean() > 0.05


def test_masks_move_with_images() -> None:
    """A picture that is its own mask stays so, but for its soft edge, and masks stay 0 and 1."""
    _, mask = scans(8)
    moved = always(flip=1, affine=1, elastic=1)(mask, mask)
    assert torch.equal(moved.mask, (moved.image > 0.5).float())
    assert set(moved.mask.unique().tolist()) == {0.0, 1.0}
    assert (moved.mask - mask).abs().mean() > 0.01


def test_warp_repeats_what_was_done_to_the_image() -> None:
    """With gray changes off, warping the stored square by the grid gives the image back."""
    image, mask = scans()
    moved = always(flip=0.5, affine=0.5, elastic=0.5)(image, mask)
    torch.testing.assert_close(warp(image, moved.grid), moved.image, atol=1e-5, rtol=0)


def test_warp_works_at_a_lower_resolution() -> None:
    """A feature map of a quarter the size moves as the image does; outside the picture is fill."""
    image = smooth((4, 1), (S, 4), (S, 4))
    moved = always(affine=1, rotate_degrees=30)(image.sigmoid(), torch.ones(4, 1, S, S))
    small = warp(F.avg_pool2d(image, 4).to(torch.bfloat16), moved.grid, fill=-9)
    assert small.shape == (4, 1, S // 4, S // 4)
    assert small.dtype == torch.bfloat16
    inside = F.avg_pool2d(warp(torch.ones(4, 1, S, S), moved.grid), 8, 4, padding=2) > 0.999
    expected = F.avg_pool2d(warp(image, moved.grid), 4)
    assert inside.float().mean() > 0.3
    assert (small.float() - expected)[inside].abs().max() < 0.15
    far = F.max_pool2d(warp(torch.ones(4, 1, S, S), moved.grid), 12, 4, padding=4) == 0
    assert far.any()
    assert (small[far] == -9).all()


def test_mirroring_twice_changes_nothing() -> None:
    """A flip is left to right, and its own inverse."""
    image, mask = scans()
    once = always(flip=1)(image, mask)
    torch.testing.assert_close(once.image, image.flip(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(always(flip=1)(once.image, mask).image, image, atol=1e-5, rtol=0)


def test_the_strongest_elastic_field_does_not_fold() -> None:
    """Neighbouring pixels keep their order: the Jacobian is positive nearly everywhere."""
    image, mask = scans(16, 128)
    grid = always(elastic=1)(image, mask).grid.double()
    down, across = grid.diff(dim=1)[:, :, :-1], grid.diff(dim=2)[:, :-1]
    jacobian = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
    assert (jacobian > 0).double().mean() > 0.999


# All gray changes


@pytest.mark.parametrize("name", GRAY)
def test_gray_changes_leave_masks_and_black_borders(name: str) -> None:
    """A gray change stays in 0..1, moves nothing, and makes no echo where there is none."""
    image, mask = scans(16)
    changed = always(**{name: 1}, blur_sigma=0.02)(image, mask)
    assert torch.equal(changed.mask, mask)
    assert (changed.image - image).abs().amax() > 0.01
    assert changed.image.dtype == torch.float32
    assert changed.image.min() >= 0
    assert changed.image.max() <= 1
    still = always()(image, mask)
    assert torch.equal(changed.grid, still.grid)
    if name not in ("calipers", "text", "blur", "jpeg"):
        assert (changed.image[:, :, : S // 8] == 0).all()


@pytest.mark.parametrize("name", CHANGES)
def test_probability_is_that_of_each_image(name: str) -> None:
    """At probability 0.5 about half of the images change, the others not by a bit."""
    image, mask = scans(64)
    mask.zero_()
    same = (always(**{name: 0.5})(image, mask).image == image).flatten(1).all(1)
    assert 16 < same.sum() < 48


def test_off_is_the_identity() -> None:
    """With all probabilities 0 images and masks come back bit for bit, and are copies."""
    image, mask = torch.rand(3, 1, 40, 40), (torch.rand(3, 1, 40, 40) > 0.5).float()
    kept = image.clone()
    result = always()(image, mask)
    assert torch.equal(result.image, kept)
    assert torch.equal(result.mask, mask)
    result.image.zero_()
    assert torch.equal(image, kept)


@pytest.mark.parametrize(("count", "size"), [(1, 32), (3, 224)])
def test_the_seed_gives_the_batch(count: int, size: int) -> None:
    """The same seed gives the same bits, another seed others, at any size and number of images."""
    image, mask = scans(count, size)
    everything = Augment(AugmentSettings(**dict.fromkeys(CHANGES, 1.0)))
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(everything(image, mask))
    for first, second in zip(results[0], results[1], strict=True):
        assert torch.equal(first, second)
        assert first.dtype == torch.float32
    assert not torch.equal(results[0].image, results[2].image)


# The echo


def test_a_factor_moves_gray_values_by_its_decibels() -> None:
    """Above the floor 6 dB are a tenth of a range of 60 dB; black stays black."""
    image = torch.tensor([0.0, 0.4, 0.6, 0.8])
    louder = echo_module.compress(echo_module.decompress(image) * 10 ** (6 / 20))
    torch.testing.assert_close(louder, torch.tensor([0.0, 0.5, 0.7, 0.9]), atol=0.02, rtol=0)
    assert louder[0] == 0
    same = echo_module.compress(echo_module.decompress(torch.linspace(0, 1, 256)))
    torch.testing.assert_close(same, torch.linspace(0, 1, 256), atol=1e-5, rtol=0)


def decibels(before: Tensor, after: Tensor) -> Tensor:
    """The change of amplitude in dB, (N, S, S)."""
    ratio = echo_module.decompress(after) / echo_module.decompress(before)
    return 20 * ratio.log10()[:, 0]


def flat(count: int = 16) -> tuple[Tensor, Tensor]:
    """Even pictures of medium gray."""
    return torch.full((count, 1, S, S), 0.7), torch.zeros(count, 1, S, S)


def test_attenuation_is_linear_in_depth() -> None:
    """The loss in dB is proportional to depth, the same across, and at most what is set."""
    image, mask = flat()
    loss = -decibels(image, always(attenuation=1, attenuation_db=12.0)(image, mask).image)
    rows = loss.mean(2)
    assert (loss - rows[..., None]).abs().max() < 1e-3
    depth = (torch.arange(S) + 0.5) / S
    slope = rows[:, -1:] / depth[-1]
    torch.testing.assert_close(rows, slope * depth, atol=0.01, rtol=0.01)
    assert 6 < slope.max() <= 12
    assert slope.min() >= 0


@pytest.mark.parametrize(("name", "sign"), [("shadow", -1), ("enhancement", 1)])
def test_a_column_changes_below_a_depth(name: str, sign: int) -> None:
    """Nothing at the probe, the set decibels in a column at the bottom, never less with depth."""
    image, mask = flat()
    augment = always(**{name: 1, f"{name}_db": (8.0, 10.0)})
    change = sign * decibels(image * 0.8, augment(image * 0.8, mask).image)
    assert change[:, 0].max() < 0.1
    bottom = change[:, -1]
    assert bottom.max() <= 10.01
    assert bottom.amax(1).min() > 6
    assert bottom.amin(1).max() < 0.1
    assert change.diff(dim=1).min() > -1e-3


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_speckle_has_the_statistics_of_interference(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The factor is Rice distributed (Rayleigh for all new), of mean power 1, wider across."""
    monkeypatch.setattr(echo_module, "uniform", lambda _, *shape, **__: torch.full(shape, share))
    size = 256
    factor = echo_module.speckle(torch.ones(24, 1, size, size), AugmentSettings())[:, 0]
    expected = stats.rice(b=np.sqrt((1 - share) / (share / 2)), scale=np.sqrt(share / 2))
    assert float(factor.mean()) == pytest.approx(expected.mean(), rel=0.01)
    assert float(factor.std()) == pytest.approx(expected.std(), rel=0.02)
    assert float(factor.square().mean()) == pytest.approx(1, rel=0.02)
    apart = factor[:, 3::17, 3::17].flatten().numpy()  # independent: grains are 2 to 4 pixels
    assert stats.kstest(apart, expected.cdf).pvalue > 1e-3
    centred = factor - factor.mean()
    across = (centred[:, :, 2:] * centred[:, :, :-2]).mean() / centred.square().mean()
    down = (centred[:, 2:] * centred[:, :-2]).mean() / centred.square().mean()
    assert across > down + 0.1
    assert (centred[:, :, 12:] * centred[:, :, :-12]).mean() / centred.square().mean() < 0.05


def test_noise_grows_with_depth() -> None:
    """The deepest quarter of a dark picture gets several times the noise of the shallowest."""
    image, mask = torch.full((8, 1, S, S), 1 / 255), torch.zeros(8, 1, S, S)
    amplitude = echo_module.decompress(always(noise=1)(image, mask).image)
    assert amplitude[:, :, -S // 4 :].std() > 2.5 * amplitude[:, :, : S // 4].std()


def test_gain_and_curve_are_the_same_across() -> None:
    """Overall gain is one number for an image, the curve of the sliders one for each depth."""
    image, mask = flat()
    gain = decibels(image, always(gain=1, gain_db=6.0)(image, mask).image)
    assert (gain - gain[:, :1, :1]).abs().max() < 1e-3
    assert 2 < gain.abs().max() <= 6.001
    assert gain.min() < 0 < gain.max()
    image, mask = flat(200)
    curve = decibels(image, always(tgc=1, tgc_db=2.0)(image, mask).image)
    assert (curve - curve[:, :, :1]).abs().max() < 1e-3
    assert float(curve[:, :, 0].std()) == pytest.approx(2.0, rel=0.1)


def test_dynamic_range_scales_decibels() -> None:
    """At 48 dB for 60 all distances to white grow by 60 / 48, and white stays white."""
    image = torch.tensor([0.6, 0.8, 1.0]).view(3, 1, 1, 1).expand(-1, -1, 8, 8)
    hard = always(dynamic_range=1, dynamic_range_db=(48.0, 48.0))(image, torch.zeros_like(image))
    expected = 1 - (1 - image) * 60 / 48
    torch.testing.assert_close(hard.image, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("make", [smooth, grain])
def test_smooth_noise_has_unit_variance_everywhere(make: object) -> None:
    """Neither lattice nor border shows in mean or variance over many draws."""
    field = (
        smooth((3000, 1), (16, 3), (24, 5)) if make is smooth else grain((3000, 1), 20, (2.0, 3.5))
    )
    assert field.mean(0).abs().max() < 0.1
    assert (field.var(0) - 1).abs().max() < 0.15


# The picture


def test_gray_map_is_a_power() -> None:
    """Each image gets one exponent of the set range."""
    image, mask = scans(8)
    image = image.clamp(min=0.05)
    exponent = always(gray_map=1, gamma=(0.8, 1.3))(image, mask).image.log() / image.log()
    assert (exponent - exponent[:, :, :1, :1]).abs().max() < 0.02
    assert exponent.min() > 0.79
    assert exponent.max() < 1.31


def test_blur_is_wider_across_and_keeps_the_mean() -> None:
    """A point becomes a spot of sum 1 whose lateral variance exceeds the axial one."""
    image = torch.zeros(8, 1, S, S)
    image[:, :, 32, 32] = 1
    spot = always(blur=1, blur_sigma=0.02)(image, image).image[:, 0].double()
    torch.testing.assert_close(spot.sum((1, 2)), torch.ones(8).double(), atol=1e-4, rtol=0)
    away = (torch.arange(S) - 32.0).double() ** 2
    across, down = (spot * away).sum((1, 2)), (spot * away[:, None]).sum((1, 2))
    assert (across > 1.5 * down).all()
    assert (across.sqrt() < 0.02 * S * 1.05).all()


def test_a_sector_never_cuts_the_lesion() -> None:
    """The fan blackens the lower corners; where a lesion lies there, the image is left whole."""
    image, mask = torch.full((32, 1, S, S), 0.5), torch.zeros(32, 1, S, S)
    mask[:16, :, 28:36, 28:36] = 1
    mask[16:, :, -6:, :6] = 1
    fan = always(sector=1)(image, mask).image
    assert (fan[:16, :, -1, 0] == 0).all()
    assert (fan[:16, :, 28:36, 28:36] == 0.5).all()
    assert torch.equal(fan[16:], image[16:])
    assert 0.4 < (fan[:16] > 0).float().mean() < 0.95


@pytest.mark.parametrize("name", ["calipers", "text"])
def test_marks_tell_nothing_of_the_lesion(name: str) -> None:
    """The same draw leaves the same marks wherever the lesion is, and they lie everywhere."""
    image, mask = torch.zeros(400, 1, S, S), torch.zeros(400, 1, S, S)
    elsewhere = mask.clone()
    elsewhere[:, :, :20, :20] = 1
    drawn = []
    for lesion in (mask, elsewhere):
        torch.manual_seed(3)
        drawn.append(always(**{name: 1})(image, lesion).image)
    assert torch.equal(*drawn)
    marked = (drawn[0] > 0.5).float()
    assert (marked.flatten(1).sum(1) >= 5).all()
    assert marked.mean() < 0.15
    quarters = F.avg_pool2d(marked, S // 2).mean((0, 1))
    assert quarters.min() > 0.3 * quarters.max()


@pytest.mark.parametrize(("quality", "share"), [(30, 0.9), (60, 0.8), (90, 0.6)])
def test_jpeg_is_that_of_libjpeg(quality: int, share: float) -> None:
    """Most blocks are OpenCV's at the same quality, to 8-bit rounding; no block is far from it.

    The others have a coefficient on the edge between two quanta, where libjpeg's integers round
    the other way: the more of them, the finer the quanta.
    """
    size = 256
    image = (0.5 + 0.2 * grain((1, 1), size, (2.0, 3.0))).clamp(0, 1)
    image = (image * 255).round() / 255
    ours = always(jpeg=1, jpeg_quality=(quality, quality))(image, torch.zeros_like(image)).image
    pixels = (image[0, 0] * 255).round().numpy().astype(np.uint8)
    _, code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    theirs = cv2.imdecode(code, cv2.IMREAD_GRAYSCALE).astype(np.float32)
    difference = np.abs(ours[0, 0].numpy() * 255 - theirs)
    blocks = difference.reshape(size // 8, 8, size // 8, 8).max((1, 3))
    assert (blocks < 1.01).mean() > share
    assert difference.mean() < 0.25 * np.abs(theirs - pixels).mean()


# Settings and the sheet


def test_every_change_has_a_reason_and_a_probability() -> None:
    """Each name is a setting, and its reason is one sentence."""
    assert set(CHANGES) <= set(AugmentSettings.model_fields)
    assert all(reason.endswith(".") and len(reason) < 100 for reason in reasons().values())
    assert tuple(reasons()) == CHANGES


@pytest.mark.parametrize(
    "bad", [{"gain": 1.5}, {"scale": [1.2, 0.8]}, {"jpeg_quality": [0, 50]}, {"gian": 0.5}]
)
def test_senseless_settings_are_refused(bad: dict[str, object]) -> None:
    """A probability above 1, a range the wrong way round and a misspelt name are named."""
    with pytest.raises(InputError, match=next(iter(bad))):
        settings(AugmentSettings, {"augment": bad}, "augment")


def test_the_sheet_is_drawn(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`data augment` writes the same PNG for the same seed, and does not replace a file unasked."""
    sheets = [tmp_path / "one.png", tmp_path / "two.png"]
    codes = []
    for sheet in (*sheets, sheets[0]):
        arguments = ["data", "augment", str(blobs), "-o", str(sheet), "--imgsz", "32"]
        monkeypatch.setattr("sys.argv", ["edge-bts", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        codes.append(stop.value.code)
    assert codes == [0, 0, 2]
    assert "choose another or --force" in capsys.readouterr().err
    assert sheets[0].read_bytes() == sheets[1].read_bytes()
    assert min(cv2.imread(str(sheets[0])).shape[:2]) > 1000
