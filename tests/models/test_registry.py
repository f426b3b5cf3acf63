"""What every registered model promises, tested alike for each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edge_bts.errors import InputError
from edge_bts.models import (
    Checkpoint,
    ModelSpec,
    build_model,
    load_checkpoint,
    model_names,
    register_model,
    save_checkpoint,
)

# Small options; a model that is not named here is tested with its defaults.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "attention_unet": [{"width": 8}],
    "simplified_unet": [{"base": 16}, {"base": 16, "stem": "full"}],
}
SPECS = [
    ModelSpec(name=name, options=options)
    for name in model_names()
    for options in OPTIONS.get(name, [{}])
]


@pytest.fixture(params=SPECS, ids=str)
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    """Each registered model in its small forms."""
    return request.param  # type: ignore[no-any-return]


def _build(spec: ModelSpec) -> nn.Module:
    torch.manual_seed(0)
    return build_model(spec)


def test_trains(spec: ModelSpec) -> None:
    """Two images of H x W give finite logits of H x W, and every parameter a finite gradient."""
    model = _build(spec).train()
    logits = model(torch.randn(2, 1, 64, 96))
    assert logits.shape == (2, 1, 64, 96)
    nn.functional.binary_cross_entropy_with_logits(logits, torch.rand_like(logits)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_learns_one_image(spec: ModelSpec) -> None:
    """A few steps on one image lower its loss: nothing in the graph is cut."""
    model = _build(spec).train()
    image = torch.zeros(2, 1, 32, 32)
    image[..., 8:20, 8:20] = 1
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        loss = nn.functional.binary_cross_entropy_with_logits(model(image), image)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_images_of_a_batch_are_independent(spec: ModelSpec) -> None:
    """In eval mode an image's logits do not depend on its neighbours in the batch."""
    model = _build(spec).eval()
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images)[:1], model(images[:1]), atol=1e-5, rtol=1e-5)


def test_divisor_is_true(spec: ModelSpec) -> None:
    """Sides divisible by ``divisor`` work; every other side is an error, not a wrong mask."""
    model = _build(spec).eval()
    divisor = int(model.divisor)  # type: ignore[arg-type]
    with torch.no_grad():
        for side in range(divisor, 2 * divisor + 1):
            if side % divisor == 0:
                assert model(torch.zeros(1, 1, side, divisor)).shape == (1, 1, side, divisor)
            else:
                with pytest.raises(RuntimeError):
                    model(torch.zeros(1, 1, side, divisor))


def test_feature_taps_are_modules_of_the_model(spec: ModelSpec) -> None:
    """The taps are modules whose outputs can be read, at falling and rising resolution."""
    model = _build(spec).eval()
    taps: dict[str, nn.Module] = model.feature_taps()  # type: ignore[operator]
    assert set(taps.values()) <= set(model.modules())
    shapes = {}
    for name, module in taps.items():
        module.register_forward_hook(
            lambda _, __, output, name=name: shapes.update({name: output.shape})
        )
    with torch.no_grad():
        model(torch.zeros(1, 1, 64, 64))
    assert shapes.keys() == taps.keys()
    heights = [shapes[f"encoder{level}"][2] for level in range(5)]
    assert heights == [heights[0] >> level for level in range(5)]


def test_exports(spec: ModelSpec) -> None:
    """torch.export takes the model whole, and the exported program gives the same logits."""
    model, image = _build(spec).eval(), torch.randn(1, 1, 64, 64)
    program = torch.export.export(model, (image,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(image), model(image))


def test_checkpoint_returns_the_same_bits(spec: ModelSpec, tmp_path: Path) -> None:
    """Weights, buffers and description come back bit for bit, and the model in eval mode."""
    model = _build(spec).train()
    model(torch.randn(2, 1, 32, 32))  # moves the statistics of batch norm
    description = Checkpoint(
        model=spec, role="student", category="all", imgsz=64, mean=0.3, std=0.2, threshold=0.45,
        metrics={"dice": 1 / 3}, config={"lr": 1e-3},
    )  # fmt: skip
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model, description)
    loaded, read = load_checkpoint(path)
    assert read == description
    assert not loaded.training
    stored = model.state_dict()
    assert stored.keys() == loaded.state_dict().keys()
    assert all(torch.equal(stored[key], value) for key, value in loaded.state_dict().items())
    first = path.read_bytes()
    save_checkpoint(path, loaded, read)
    assert path.read_bytes() == first


def test_unknown_names_and_options() -> None:
    """An unknown model, an unknown option and a bad value say what was expected."""
    with pytest.raises(InputError, match=r"attention_unet, simplified_unet.*'resnet'"):
        build_model(ModelSpec(name="resnet"))
    for options in ({"depth": 3}, {"width": 7}, {"width": "wide"}):
        with pytest.raises(InputError, match="attention_unet refused its options"):
            build_model(ModelSpec(name="attention_unet", options=options))


def test_a_model_registers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new name builds; a taken one is refused."""
    monkeypatch.setattr("edge_bts.models.registry._BUILDERS", {})
    register_model("tiny", lambda channels=1: nn.Conv2d(1, channels, 1))
    assert model_names() == ["tiny"]
    assert isinstance(build_model(ModelSpec(name="tiny", options={"channels": 1})), nn.Conv2d)
    with pytest.raises(InputError, match="'tiny' is registered"):
        register_model("tiny", nn.Conv2d)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module on the path with the function ``net``, not yet trusted."""
    name = f"nets_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "from torch import nn\ndef net(channels=1):\n    return nn.Conv2d(1, channels, 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("edge_bts.models.registry._TRUSTED", set())
    return name


def _checkpoint_of(name: str) -> Checkpoint:
    spec = ModelSpec(name=name)
    return Checkpoint(model=spec, role="student", category="all", imgsz=64, mean=0.3, std=0.2)


def test_a_users_function_is_a_model(own_module: str, tmp_path: Path) -> None:
    """``module:function`` builds what the function returns, and its checkpoint loads again."""
    model = build_model(ModelSpec(name=f"{own_module}:net", options={"channels": 1}))
    assert isinstance(model, nn.Conv2d)
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, model, _checkpoint_of(f"{own_module}:net"))
    loaded, _ = load_checkpoint(path)
    assert torch.equal(loaded.weight, model.weight)  # type: ignore[arg-type]


def test_a_checkpoint_does_not_choose_what_code_runs(
    own_module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that names a module is refused unless the user names it too."""
    path = tmp_path / "foreign.safetensors"
    save_checkpoint(path, nn.Conv2d(1, 1, 1), _checkpoint_of(f"{own_module}:net"))
    with pytest.raises(InputError, match=f"EDGE_BTS_TRUST_MODELS={own_module}:net"):
        load_checkpoint(path)
    assert own_module not in sys.modules
    monkeypatch.setenv("EDGE_BTS_TRUST_MODELS", f"other:net,{own_module}:net")
    load_checkpoint(path)


def test_code_that_is_not_there_is_one_sentence(own_module: str) -> None:
    """A missing module, a missing function and a value that is no function are named."""
    for name, fault in (
        ("no_such_module:net", "No module named"),
        (f"{own_module}:nothing", "nothing"),
        (f"{own_module}:__name__", "function or class"),
    ):
        with pytest.raises(InputError, match=fault):
            build_model(ModelSpec(name=name))
