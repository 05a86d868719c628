import numpy as np
import torch

from dfad_core.data import Streams
from dfad_core.data.random_streams import evaluation_seed, stream_seed

CPU = torch.device("cpu")


def test_streams_of_one_seed_differ_and_repeat() -> None:
    assert len({stream_seed(0, s) for s in range(4)} | {stream_seed(1, s) for s in range(4)}) == 8
    assert torch.equal(Streams(5, CPU).noise(4, 3), Streams(5, CPU).noise(4, 3))
    assert not torch.equal(Streams(5, CPU).noise(4, 3), Streams(6, CPU).noise(4, 3))


def test_the_largest_seed_is_accepted() -> None:
    assert 0 <= evaluation_seed(2**63 - 1) < 2**63
    Streams(2**63 - 1, CPU)


def test_goes_on_where_it_was_saved() -> None:
    streams = Streams(1, CPU)
    streams.noise(3, 2)
    streams.mixing(4, 0.2)
    state = streams.state_dict()
    expected = streams.noise(3, 2), streams.mixing(4, 0.2), streams.pool.integers(100, size=5)
    other = Streams(99, CPU)
    other.load_state_dict(state)
    assert torch.equal(other.noise(3, 2), expected[0])
    mixing = other.mixing(4, 0.2)
    assert torch.equal(mixing.partner_B, expected[1].partner_B)
    assert torch.equal(mixing.share_B, expected[1].share_B)
    assert np.array_equal(other.pool.integers(100, size=5), expected[2])


def test_shares_follow_the_concentration() -> None:
    streams = Streams(2, CPU)
    even, spread = streams.mixing(4000, 100.0), streams.mixing(4000, 0.01)
    assert even.share_B.std() < 0.05
    assert ((spread.share_B < 0.01) | (spread.share_B > 0.99)).float().mean() > 0.9
    assert sorted(even.partner_B.tolist()) == list(range(4000))
