from __future__ import annotations

import pytest
import torch

from edge_bts.trainers.data import TensorData


def squares(count: int) -> TensorData:
    """Return ``count`` squares whose gray value is their place."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    return TensorData(images, (images > 3).to(torch.uint8), torch.zeros(count, dtype=torch.int64))


@pytest.mark.parametrize(
    ("count", "batch", "world"), [(37, 4, 1), (37, 4, 3), (7, 4, 2), (5, 9, 2)]
)
def test_processes_share_each_step_evenly(count: int, batch: int, world: int) -> None:
    """All processes take as many steps of as many images, and no image comes twice in an epoch."""
    data = squares(count)
    shares = [
        [b.place for b in data.shuffled(batch, torch.Generator().manual_seed(3), rank, world)]
        for rank in range(world)
    ]
    assert {len(share) for share in shares} == {data.steps(batch, world)}
    sizes = {len(place) for share in shares for place in share}
    assert sizes == {min(batch, count // world)}
    seen = torch.cat([place for share in shares for place in share]).tolist()
    assert len(set(seen)) == len(seen)
    # What is left out is less than a step of all processes.
    assert count - len(seen) < world * max(sizes)


def test_one_process_takes_what_several_take() -> None:
    """A step of one process with the batch of all holds the images of all."""
    data = squares(24)
    whole = data.shuffled(8, torch.Generator().manual_seed(1))
    parts = [data.shuffled(4, torch.Generator().manual_seed(1), rank, 2) for rank in range(2)]
    for one, *two in zip(whole, *parts, strict=True):
        assert torch.equal(one.place, torch.cat([batch.place for batch in two]))
        assert torch.equal(one.image, torch.cat([batch.image for batch in two]))


def test_a_batch_is_scaled_and_can_be_narrowed() -> None:
    """Images come as v/255 with their masks, and ``at`` keeps all fields in step."""
    batch = next(squares(6).in_order(6))
    assert batch.image[5].unique().tolist() == pytest.approx([5 / 255])
    chosen = batch._replace(grid=torch.arange(6.0).view(6, 1, 1, 1)).at(torch.tensor([4, 1]))
    assert chosen.place.tolist() == [4, 1]
    assert chosen.mask.flatten(1).amax(1).tolist() == [1.0, 0.0]
    assert chosen.grid is not None
    assert chosen.grid.flatten().tolist() == [4.0, 1.0]
