"""Quantization-aware training keeps what is better as it is deployed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("judgements", "epoch"), [((0.7, 0.8), 1), ((0.8, 0.7), 0), ((0.7, 0.7), 0)]
)
def test_an_epoch_that_is_no_better_as_deployed_is_not_kept(
    workshop: Any,
    monkeypatch: pytest.MonkeyPatch,
    judgements: tuple[float, float],
    epoch: int,
) -> None:
    """Whatever its Dice at threshold 0.5; the model is then the calibrated one again."""
    from edge_bts.export import qat
    from edge_bts.export.settings import QatSettings
    from edge_bts.models import load_checkpoint
    from edge_bts.trainers.settings import AugmentSettings

    def fit(task: Any, *_: Any, save: Callable[..., None], **__: Any) -> Any:
        with torch.no_grad():
            next(task.network.module.parameters()).add_(1.0)
        save(task.network.module, 1, {"dice": 0.6})
        return type("Result", (), {"history": []})

    monkeypatch.setattr(qat, "fit", fit)
    monkeypatch.setattr(qat, "validate", lambda *_: {"dice": 0.5})
    quantized = copy.deepcopy(workshop.quantized)
    weight = next(quantized.parameters()).clone()
    answers, judged = list(judgements), []

    def judge(module: Any) -> float:
        judged.append(next(module.parameters()).clone())
        return answers.pop(0)

    _, checkpoint = load_checkpoint(workshop.checkpoint)
    outcome = qat.fine_tune(
        quantized, workshop.folded, checkpoint, (None, None),  # type: ignore[arg-type]
        QatSettings(epochs=1), AugmentSettings(), judge=judge,
    )  # fmt: skip
    assert (outcome["best_epoch"], outcome["kept_epoch"]) == (1, epoch)
    assert outcome["tuned"]["dice"] == (0.6 if epoch else 0.5)
    assert torch.equal(judged[0], weight)
    assert torch.equal(judged[1], weight + 1.0)
    assert torch.equal(next(quantized.parameters()), weight + epoch)
