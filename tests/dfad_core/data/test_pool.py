import io

import numpy as np
import torch

from dfad_core.data import Batch, Pool, PoolImages


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
    copy.load_state_dict(torch.load(buffer, weights_only=True), torch.device("cpu"), torch.float32)
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


def test_another_precision_stores_in_its_own_type() -> None:
    ring, copy = Pool(2), Pool(2)
    ring.push(Batch(torch.randn(4, 1, 8, 8).bfloat16(), torch.randn(4, 3)))
    copy.load_state_dict(ring.state_dict(), torch.device("cpu"), torch.float32)
    (batch,) = copy.recent(1)
    assert batch.images_BCHW.dtype == torch.float32
    assert torch.equal(batch.images_BCHW, ring.recent(1)[0].images_BCHW.float())


def test_images_without_a_finite_answer_are_dropped() -> None:
    ring = Pool(3)
    logits = torch.randn(3, 4, 2)
    logits[1, 2, 0] = float("nan")
    logits[2, 1:] = float("inf")
    for number in range(3):
        ring.push(Batch(torch.full((4, 1, 2, 2), float(number)), logits[number]))
    ring.drop_not_finite()
    assert [len(batch) for batch in ring.recent(3)] == [3, 4]
    assert all(torch.isfinite(batch.teacher_logits_BK).all() for batch in ring.recent(3))
    ring.push(_batch(7))
    ring.push(_batch(8))
    assert _values(ring.recent(2)) == [8, 7]


def test_pool_images_answer_noise_as_a_generator_does() -> None:
    batches = [Batch(torch.full((5, 1, 2, 2), float(n)), torch.zeros(5, 2)) for n in range(4)]
    images = PoolImages(batches)
    z_B1 = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    drawn = images(z_B1)
    assert drawn.shape == (4000, 1, 2, 2)
    assert torch.equal(drawn, images(z_B1))
    shares = torch.bincount(drawn[:, 0, 0, 0].long(), minlength=4) / 4000
    assert (shares - 0.25).abs().max() < 0.05


def test_single_images_are_drawn_by_their_shares() -> None:
    ring, rng = Pool(3), np.random.default_rng(0)
    for value in range(4):  # the first one has made room
        ring.push(_batch(value))
    shares = np.array([0.5, 0.0, 0.5, 0.0, 0.0, 0.0])  # in the order of the ring: batches 3, 1, 2
    images = ring.draw_images(64, rng, shares)
    assert images.shape == (64, 1, 4, 4)
    assert set(images[:, 0, 0, 0].tolist()) == {3.0, 1.0}
    assert set(ring.draw_images(200, rng)[:, 0, 0, 0].tolist()) == {3.0, 1.0, 2.0}


def test_statistics_lie_in_the_order_of_the_images() -> None:
    ring, rng = Pool(2), np.random.default_rng(0)
    for value in range(3):
        images = torch.full((2, 1, 4, 4), float(value))
        ring.push(Batch(images, torch.zeros(2, 3), statistics_BD=torch.full((2, 1), float(value))))
    statistics = ring.statistics_ND[:, 0]
    for place in range(4):
        drawn = ring.draw_images(1, rng, np.eye(4)[place])
        assert drawn[0, 0, 0, 0] == statistics[place]
