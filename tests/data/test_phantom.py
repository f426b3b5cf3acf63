"""What one simulated image promises."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge_bts.data.phantom import PhantomCategory, simulate
from edge_bts.data.phantom.insertion import place
from edge_bts.data.phantom.scene import Scene, draw_scene
from edge_bts.errors import InputError

SIZE = {"height": 160, "width": 192}
CATEGORIES: tuple[PhantomCategory, ...] = ("benign", "malignant", "normal")


@functools.cache
def scenes(category: PhantomCategory) -> list[Scene]:
    """Draw 60 patients."""
    return [draw_scene(seed, category, height=320, width=384) for seed in range(60)]


def mask_of(scene: Scene) -> npt.NDArray[np.uint8]:
    """Return the lesion's mask without the picture."""
    assert scene.lesion is not None
    placed = place(scene.lesion, scene.grid)
    assert placed is not None
    return (placed.radius < 1).astype(np.uint8)


def aspect(mask: npt.NDArray[np.uint8]) -> float:
    """Return width over height."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(np.ptp(columns) + 1) / float(np.ptp(rows) + 1)


def solidity(mask: npt.NDArray[np.uint8]) -> float:
    """Return the share of the convex hull that the mask fills."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.contourArea(contours[0]) / cv2.contourArea(cv2.convexHull(contours[0]))


@pytest.mark.parametrize("category", CATEGORIES)
def test_image_and_mask_have_the_documented_form(category: PhantomCategory) -> None:
    """Image and mask are uint8 of the asked size, and the mask is 0 and 1."""
    phantom = simulate(3, category, **SIZE)
    assert phantom.image.shape == phantom.mask.shape == (160, 192)
    assert phantom.image.dtype == phantom.mask.dtype == np.uint8
    assert set(np.unique(phantom.mask)) == ({0} if category == "normal" else {0, 1})
    assert 20 < phantom.image.mean() < 150


@pytest.mark.parametrize("category", CATEGORIES)
def test_same_seed_same_bytes(category: PhantomCategory) -> None:
    """The seed decides every byte; another seed or view gives another image."""
    first, again = simulate(5, category, **SIZE), simulate(5, category, **SIZE)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.mask.tobytes() == again.mask.tobytes()
    assert first.parameters == again.parameters
    for other in (simulate(6, category, **SIZE), simulate(5, category, view=1, **SIZE)):
        assert (first.image != other.image).mean() > 0.5


def test_threads_do_not_change_the_bytes() -> None:
    """OpenCV gives the same image on one thread and on several."""
    threads = cv2.getNumThreads()
    try:
        images = []
        for number in (1, 4):
            cv2.setNumThreads(number)
            images.append(simulate(8, "malignant").image)
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(images[0], images[1])


def test_views_of_a_patient_share_the_breast() -> None:
    """A second view has the same anatomy and scanner and a smaller section of the lesion."""
    first, second = (simulate(5, "benign", view=v, **SIZE) for v in (0, 1))
    for shared in ("anatomy", "scanner"):
        assert first.parameters[shared] == second.parameters[shared]
    assert second.parameters["lesion"]["width_mm"] <= first.parameters["lesion"]["width_mm"]


def test_parameters_are_json() -> None:
    """The record of an image survives JSON."""
    parameters = simulate(2, "malignant", **SIZE).parameters
    assert json.loads(json.dumps(parameters))["lesion"]["category"] == "malignant"


def test_benign_masses_are_wider_than_tall() -> None:
    """Nine of ten benign masses are wider than tall, and all are smooth."""
    masks = [mask_of(scene) for scene in scenes("benign")]
    assert np.mean([aspect(m) > 1 for m in masks]) > 0.9
    assert min(solidity(m) for m in masks) > 0.93


def test_malignant_masses_are_often_taller_than_wide_and_irregular() -> None:
    """Half of the malignant masses are taller than wide; most are less convex than benign ones."""
    masks = [mask_of(scene) for scene in scenes("malignant")]
    assert 0.4 < np.mean([aspect(m) < 1 for m in masks]) < 0.9
    benign = np.median([solidity(mask_of(scene)) for scene in scenes("benign")])
    assert np.mean([solidity(m) < benign for m in masks]) > 0.8


@pytest.mark.parametrize("category", ["benign", "malignant"])
def test_lesions_lie_within_the_picture(category: PhantomCategory) -> None:
    """No mask touches the picture's border, and its size is within 3 to 30 mm."""
    for scene in scenes(category):
        mask = mask_of(scene)
        other = mask_of(draw_scene(scene.seed, category, height=320, width=384, view=1))
        assert other[1:-1, 1:-1].sum() == other.sum() > 0
        assert mask[1:-1, 1:-1].sum() == mask.sum()
        diameter = 2 * np.sqrt(mask.sum() / np.pi) * scene.grid.spacing_mm
        assert 2.5 < diameter < 30


def test_some_lesions_are_hard() -> None:
    """Contrast spans faint masses and black cysts, so a threshold alone cannot find them."""
    contrasts = [s.lesion.contrast_db for s in scenes("benign") if s.lesion is not None]
    assert min(contrasts) < -22
    assert np.mean(np.array(contrasts) > -7) > 0.1


def test_lesions_are_darker_than_their_surroundings() -> None:
    """A mass of strong contrast is darker than the tissue around it."""
    for seed in range(24):
        phantom = simulate(seed, "benign", **SIZE)
        if phantom.parameters["lesion"]["contrast_db"] > -9:
            continue
        ring = cv2.dilate(phantom.mask, np.ones((15, 15), np.uint8)) - phantom.mask
        inside = phantom.image[cv2.erode(phantom.mask, np.ones((5, 5), np.uint8)) == 1]
        assert inside.mean() < 0.8 * phantom.image[ring == 1].mean()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"category": "lesion"}, "category"),
        ({"seed": -1}, "seed"),
        ({"height": 32}, "height"),
        ({"spacing_mm": 5.0}, "spacing"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, object], words: str) -> None:
    """An argument out of range is an InputError that names it."""
    arguments = {"seed": 0, "category": "benign", **SIZE, **change}
    with pytest.raises(InputError, match=words):
        simulate(**arguments)  # type: ignore[arg-type]


def test_needs_neither_torch_nor_scipy() -> None:
    """The simulator runs in a base install."""
    code = (
        "import sys; from edge_bts.data.phantom import simulate; "
        "simulate(0, 'normal', height=64, width=64); "
        "print([m for m in ('torch', 'scipy', 'nncf', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
