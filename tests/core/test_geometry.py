"""The geometry: its definition, its bits, its edges, and that C++ and NumPy are one."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable
from dataclasses import astuple, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge_bts import _geometry_numpy, geometry
from edge_bts.errors import InputError

Array = npt.NDArray[Any]

# Sources (height, width) and squares: shrinking, enlarging, both at once, equal, degenerate.
SHAPES = [
    (500, 500, 256),
    (333, 471, 256),
    (71, 53, 256),
    (256, 256, 256),
    (1, 1, 9),
    (1, 700, 64),
    (300, 2, 16),
    (257, 255, 256),
    (40, 60, 1),
]


def generated(count: int, seed: int) -> npt.NDArray[np.uint32]:
    """The generator of runtime/tests/support.hpp: x -> 1664525 x + 1013904223 modulo 2^32."""
    states = np.empty(count, np.uint32)
    state = seed
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        states[i] = state
    return states


def noise(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """An image of independent gray levels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def numpy_letterbox(image: Array, size: int) -> Array:
    """The fallback, whatever the public function runs on."""
    return _geometry_numpy.letterbox(image, *astuple(geometry.plan(*image.shape, size))[2:])


def numpy_letterbox_mask(mask: Array, size: int) -> Array:
    """The fallback for masks."""
    return _geometry_numpy.letterbox_mask(mask, *astuple(geometry.plan(*mask.shape, size))[2:])


def numpy_to_source(probability: Array, box: geometry.Letterbox) -> Array:
    """The fallback for the way back."""
    content = (box.height, box.width, box.top, box.left)
    return _geometry_numpy.to_source(probability, content, (box.source_height, box.source_width))


def numpy_normalise(image: Array, mean: float, std: float) -> Array:
    """The fallback for gray levels."""
    return _geometry_numpy.normalise(image, np.float32(mean), np.float32(std))


def exact_weights(n_in: int, n_out: int) -> list[list[Fraction]]:
    """The filters from their definitions in rational numbers, output by output."""
    ratio = Fraction(n_in, n_out)
    if n_out < n_in:
        return [
            [max(Fraction(0), min((i + 1) * ratio, j + 1) - max(i * ratio, j)) / ratio
             for j in range(n_in)]
            for i in range(n_out)
        ]  # fmt: skip
    at = [
        min(max((i + Fraction(1, 2)) * ratio - Fraction(1, 2), 0), n_in - 1) for i in range(n_out)
    ]
    return [[max(Fraction(0), 1 - abs(t - j)) for j in range(n_in)] for t in at]


def exact_resize(image: Array, height: int, width: int) -> Array:
    """The uint8 rule in rational numbers, pixel by pixel."""
    rows, columns = exact_weights(image.shape[0], height), exact_weights(image.shape[1], width)
    values = [[int(v) for v in row] for row in image]
    half = [[sum(w * row[j] for j, w in enumerate(c) if w) for c in columns] for row in values]
    result = [
        [
            math.floor(sum(w * half[i][x] for i, w in enumerate(r) if w) + Fraction(1, 2))
            for x in range(width)
        ]
        for r in rows
    ]
    return np.array(result, np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(9, 7, 5), (5, 9, 9), (3, 4, 11), (13, 1, 6), (1, 1, 4), (8, 8, 8), (17, 30, 8), (31, 20, 16)],
)
def test_letterbox_is_the_exact_weighted_mean(height: int, width: int, size: int) -> None:
    """Every pixel is the true area or bilinear mean in rational numbers, rounded half up."""
    image = noise(height, width)
    box = geometry.plan(height, width, size)
    expected = np.zeros((size, size), np.uint8)
    expected[box.top :, box.left :][: box.height, : box.width] = exact_resize(
        image, box.height, box.width
    )
    np.testing.assert_array_equal(geometry.letterbox(image, size), expected)
    np.testing.assert_array_equal(numpy_letterbox(image, size), expected)


def test_area_filter_of_a_whole_factor_is_the_block_mean() -> None:
    """Shrinking 512 to 128 gives the mean of each 4x4 block, rounded half up."""
    image = noise(512, 512)
    blocks = image.reshape(128, 4, 128, 4).sum((1, 3), dtype=np.int64)
    np.testing.assert_array_equal(geometry.letterbox(image, 128), (blocks + 8) // 16)


def test_filters_agree_with_torch_within_one_gray_level() -> None:
    """Enlarging is torch's bilinear with align_corners=False, computed by another library."""
    torch = pytest.importorskip("torch")
    image = noise(100, 100)
    source = torch.from_numpy(image)[None, None].double()
    expected = torch.nn.functional.interpolate(source, size=(256, 256), mode="bilinear")
    difference = geometry.letterbox(image, 256) - expected[0, 0].numpy()
    assert np.abs(difference).max() <= 0.5 + 1e-9


def test_filters_agree_with_opencv() -> None:
    """Shrinking is OpenCV's INTER_AREA, enlarging its INTER_LINEAR, within its own rounding."""
    cv2 = pytest.importorskip("cv2")
    for side, how in ((500, cv2.INTER_AREA), (150, cv2.INTER_LINEAR)):
        image = noise(side, side)
        expected = cv2.resize(image.astype(np.float64), (256, 256), interpolation=how)
        assert np.abs(geometry.letterbox(image, 256) - expected).max() <= 0.5 + 1e-3


def test_the_bits_are_the_pinned_ones() -> None:
    """C++ on every compiler and NumPy give the CRC-32 sums of runtime/tests/test_geometry.cpp."""
    bytes_ = (generated(333 * 471, 20251) >> 24).astype(np.uint8)
    probability = ((generated(256 * 256, 20252) >> 8) / np.float32(2**24)).astype(np.float32)
    probability = probability.reshape(256, 256)
    image = bytes_.reshape(333, 471)
    little = bytes_[: 71 * 53].reshape(71, 53)
    pinned = [0x30E5F195, 0x1E8717B7, 0x809EF1FD, 0x8F31154, 0x72B21B2E]
    for letterbox, normalise, to_source in (
        (geometry.letterbox, geometry.normalise, geometry.to_source),
        (numpy_letterbox, numpy_normalise, numpy_to_source),
    ):
        square = letterbox(image, 256)
        results = [
            square,
            normalise(square, 0.32, 0.21),
            to_source(probability, geometry.plan(333, 471, 256)),
            letterbox(little, 256),
            to_source(probability, geometry.plan(71, 53, 256)),
        ]
        assert [zlib.crc32(result.tobytes()) for result in results] == pinned


def test_native_core_is_there_where_it_is_demanded() -> None:
    """CI sets EDGE_BTS_REQUIRE_NATIVE: a fallback after a broken build must not pass unseen."""
    if os.environ.get("EDGE_BTS_REQUIRE_NATIVE"):
        assert geometry.BACKEND == "native"


@pytest.mark.skipif(geometry.BACKEND != "native", reason="the C++ core is not built")
@pytest.mark.parametrize(("height", "width", "size"), SHAPES)
def test_native_and_numpy_agree_bit_for_bit(height: int, width: int, size: int) -> None:
    """The two implementations differ in nothing, on uint8, on masks and on floats."""
    image = noise(height, width, seed=size)
    mask = (image > 127).astype(np.uint8)
    box = geometry.plan(height, width, size)
    probability = np.random.default_rng(1).random((size, size), dtype=np.float32)
    np.testing.assert_array_equal(geometry.letterbox(image, size), numpy_letterbox(image, size))
    np.testing.assert_array_equal(
        geometry.letterbox_mask(mask, size), numpy_letterbox_mask(mask, size)
    )
    np.testing.assert_array_equal(
        geometry.to_source(probability, box).view(np.uint32),
        numpy_to_source(probability, box).view(np.uint32),
    )
    np.testing.assert_array_equal(
        geometry.normalise(image, 0.3218, 0.2147).view(np.uint32),
        numpy_normalise(image, 0.3218, 0.2147).view(np.uint32),
    )
    np.testing.assert_array_equal(
        geometry.threshold(probability, 0.5),
        _geometry_numpy.threshold(probability, np.float32(0.5)),
    )


@pytest.mark.parametrize(("height", "width", "size"), SHAPES)
def test_plan_keeps_the_aspect_and_centres(height: int, width: int, size: int) -> None:
    """The longer side fills the square, the other is within half a pixel of its true length."""
    box = geometry.plan(height, width, size)
    assert max(box.height, box.width) == size
    assert abs(box.height - size * height / max(height, width)) <= 0.5 or box.height == 1
    assert abs(box.width - size * width / max(height, width)) <= 0.5 or box.width == 1
    assert size - box.height - 2 * box.top in (0, 1)
    assert size - box.width - 2 * box.left in (0, 1)


def test_results_stay_within_the_range_of_the_input() -> None:
    """Resampling invents no darker or brighter pixel and no probability outside the input's."""
    image = noise(233, 317) // 2 + 40
    box = geometry.plan(233, 317, 128)
    content = geometry.letterbox(image, 128)[box.top : box.top + box.height]
    assert image.min() <= content.min() <= content.max() <= image.max()
    probability = np.random.default_rng(0).random((128, 128), dtype=np.float32)
    back = geometry.to_source(probability, box)
    assert probability.min() <= back.min() <= back.max() <= probability.max()


def test_a_mask_survives_the_way_there_and_back() -> None:
    """A disc that goes to model geometry and back keeps its place and its area."""
    rows, columns = np.mgrid[:471, :333]
    disc = ((rows - 200) ** 2 + (columns - 150) ** 2 < 80**2).astype(np.uint8)
    there = geometry.letterbox_mask(disc, 256)
    back = geometry.to_source(there.astype(np.float32), geometry.plan(471, 333, 256))
    back = geometry.threshold(back, 0.5)
    assert (disc & back).sum() * 2 / (disc.sum() + back.sum()) > 0.99


@pytest.mark.parametrize("implementation", [geometry.letterbox_mask, numpy_letterbox_mask])
def test_a_mask_is_the_image_of_mask_times_255_from_128_on(
    implementation: Callable[[Array, int], Array],
) -> None:
    """The mask rule is the image rule and a threshold, for all shapes."""
    for height, width, size in SHAPES:
        mask = (noise(height, width) > 127).astype(np.uint8)
        expected = geometry.letterbox(mask * np.uint8(255), size) >= 128
        np.testing.assert_array_equal(implementation(mask, size), expected)


def test_a_nan_spreads_only_to_its_own_pixels() -> None:
    """A NaN reaches the pixels that it has a part in, in both implementations alike."""
    probability = np.full((256, 256), 0.5, np.float32)
    probability[10, 20] = np.nan
    box = geometry.plan(128, 128, 256)
    for to_source in (geometry.to_source, numpy_to_source):
        back = to_source(probability, box)
        assert np.argwhere(np.isnan(back)).tolist() == [[5, 10]]


def test_threshold_includes_its_value_and_leaves_nan_out() -> None:
    """The mask is 1 from the value on; a NaN is no lesion."""
    value = np.float32(0.4)
    probability = np.array([[np.nextafter(value, np.float32(0)), value, 1, np.nan]], np.float32)
    assert geometry.threshold(probability, 0.4).tolist() == [[0, 1, 1, 0]]


def test_normalise_is_the_formula_in_float32() -> None:
    """Gray levels are scaled as torch scales them in float32."""
    torch = pytest.importorskip("torch")
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mean, std = torch.tensor(0.3218), torch.tensor(0.2147)
    expected = (torch.from_numpy(image) / 255 - mean) / std
    np.testing.assert_array_equal(geometry.normalise(image, 0.3218, 0.2147), expected.numpy())


def test_views_and_bool_masks_are_taken_as_they_are() -> None:
    """A flipped, strided or transposed view gives what its copy gives."""
    image = noise(90, 70)
    for view in (image[::-1], image[:, ::-1], image[::2, ::3], image.T):
        np.testing.assert_array_equal(
            geometry.letterbox(view, 32), geometry.letterbox(view.copy(), 32)
        )
    mask = image > 127
    np.testing.assert_array_equal(
        geometry.letterbox_mask(mask[::-1], 32),
        geometry.letterbox_mask(mask[::-1].astype(np.uint8), 32),
    )
    probability = np.random.default_rng(0).random((32, 32), dtype=np.float32)
    box = geometry.plan(90, 70, 32)
    np.testing.assert_array_equal(
        geometry.to_source(probability.T, box), geometry.to_source(probability.T.copy(), box)
    )


def test_results_are_new_and_arguments_untouched() -> None:
    """No function returns a view of its argument, not even where the sizes are equal."""
    image = noise(16, 16)
    probability = np.random.default_rng(0).random((16, 16), dtype=np.float32)
    for result, argument in (
        (geometry.letterbox(image, 16), image),
        (numpy_letterbox(image, 16), image),
        (geometry.to_source(probability, geometry.plan(16, 16, 16)), probability),
        (numpy_to_source(probability, geometry.plan(16, 16, 16)), probability),
    ):
        np.testing.assert_array_equal(result, argument)
        assert not np.shares_memory(result, argument)
        assert result.flags.writeable
        assert result.flags.c_contiguous


IMAGE = np.zeros((4, 5), np.uint8)
MAP = np.zeros((8, 8), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: geometry.plan(0, 5, 8), "height between 1 and 16384 pixels, but got 0"),
        (lambda: geometry.plan(5, 16385, 8), "width between 1 and 16384"),
        (lambda: geometry.plan(5, 5, 2.5), "size to be an integer"),
        (lambda: geometry.letterbox(IMAGE, 0), "size between"),
        (lambda: geometry.letterbox(IMAGE[:0], 8), "height of image between"),
        (lambda: geometry.letterbox(IMAGE.astype(np.float32), 8), "got float32 of 4x5"),
        (lambda: geometry.letterbox(np.zeros((4, 5, 3), np.uint8), 8), "got uint8 of 4x5x3"),
        (lambda: geometry.letterbox([[1, 2]], 8), "got list"),
        (lambda: geometry.letterbox_mask(IMAGE + np.uint8(255), 8), "0 and 1, but it holds 255"),
        (lambda: geometry.normalise(IMAGE, math.nan, 1.0), "finite mean"),
        (lambda: geometry.normalise(IMAGE, 0.5, 0.0), "above 0"),
        (lambda: geometry.normalise(IMAGE, 0.5, -1.0), "above 0"),
        (lambda: geometry.normalise(IMAGE, 0.5, 1e-45), "finite values"),
        (lambda: geometry.threshold(MAP, math.inf), "finite threshold"),
        (lambda: geometry.threshold(MAP.astype(np.float64), 0.5), "got float64"),
        (lambda: geometry.to_source(MAP, geometry.plan(4, 5, 9)), "9x9 as its letterbox says"),
        (lambda: geometry.to_source(MAP, replace(geometry.plan(4, 5, 8), top=3)), "made by plan"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(call: Callable[[], Any], message: str) -> None:
    """What was expected, what came and what to do, as InputError."""
    with pytest.raises(InputError, match=message):
        call()


def test_the_largest_image_does_not_overflow() -> None:
    """16384 white pixels on a side stay white, one black pixel among them does not show."""
    image = np.full((1, geometry.MAX_SIZE), 255, np.uint8)
    image[0, 5] = 0
    assert geometry.letterbox(image, 1).tolist() == [[255]]
    assert numpy_letterbox(image, 1).tolist() == [[255]]
    grown = geometry.letterbox(np.full((1, 1), 255, np.uint8), 4096)
    assert grown.min() == 255
