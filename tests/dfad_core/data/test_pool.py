import io

import numpy as np
import torch

from dfad_core.data import Batch, Pool


def _batch(value: float) -> Batch:
    images = torch.full((2, 1, 4, 4), value, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    return Batch(images, torch.full((2, 3), float(value)), (torch.ones(2, 5) > 0,))


def _values(batches: list[Batch]) -> list[float]:
    return [b.teacher_logits_BK[0, 0].item() for b in batches]


def test_the_oldest_batch_makes_room() -> None:
    ring = Pool(3)
    for value in range(5):
        ring.push(_batch(value))
    assert len(ring) == 3
    assert _values(ring.recent(10)) == [4, 3, 2]
    assert _values(ring.recent(1)) == [4]


def test_recent_before_the_ring_is_full() -> None:
    ring = Pool(4)
    assert ring.recent(3) == []
    ring.push(_batch(7))
    ring.push(_batch(8))
    assert _values(ring.recent(3)) == [8, 7]


def test_every_batch_is_drawn() -> None:
    ring, rng = Pool(4), np.random.default_rng(0)
    for value in range(4):
        ring.push(_batch(value))
    assert set(_values([ring.draw(rng) for _ in range(60)])) == {0, 1, 2, 3}


def test_no_places_no_batches() -> None:
    ring = Pool(0)
    ring.push(_batch(1))
    assert len(ring) == 0


def test_survives_saving() -> None:
    ring = Pool(3)
    for value in range(4):
        ring.push(_batch(value))
    buffer = io.BytesIO()
    torch.save(ring.state_dict(), buffer)
    buffer.seek(0)
    copy = Pool(3)
    copy.load_state_dict(torch.load(buffer, weights_only=True), torch.device("cpu"))
    for ours, theirs in zip(ring.recent(3), copy.recent(3), strict=True):
        assert torch.equal(ours.images_BCHW, theirs.images_BCHW)
        assert ours.images_BCHW.stride() == theirs.images_BCHW.stride()
        assert torch.equal(ours.teacher_logits_BK, theirs.teacher_logits_BK)
    ring.push(_batch(9))
    copy.push(_batch(9))
    assert _values(copy.recent(3)) == _values(ring.recent(3)) == [9, 3, 2]


def test_stage_booleans_are_not_kept() -> None:
    ring = Pool(3)
    ring.push(_batch(1))
    assert ring.recent(1)[0].active == ()
