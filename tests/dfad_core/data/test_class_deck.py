"""Requested classes: none is left out, over rounds and processes."""

import numpy as np
import pytest

from dfad_core.data.class_deck import ClassDeck, largest_count, nearest_order


def test_a_thousand_classes_are_all_requested_within_eight_rounds_of_128() -> None:
    deck = ClassDeck(1000, seed=0)
    classes = np.concatenate([deck.deal(128) for _ in range(8)])
    assert set(classes.tolist()) == set(range(1000))


@pytest.mark.parametrize("rounds", [1, 3, 25])
def test_eight_processes_of_32_request_a_hundred_classes_equally_often(rounds: int) -> None:
    decks = [ClassDeck(100, 5, rank, 8) for rank in range(8)]
    counts = sum(np.bincount(deck.deal(32), minlength=100) for _ in range(rounds) for deck in decks)
    assert counts.max() - counts.min() <= 1


def test_rounds_of_whole_decks_hold_every_class_equally_often_in_another_order() -> None:
    deck = ClassDeck(10, seed=1)
    first, second = deck.deal(20), deck.deal(20)
    assert (np.bincount(first) == 2).all()
    assert (np.bincount(second) == 2).all()
    assert not np.array_equal(first, second)


def test_another_seed_deals_another_order_and_a_restored_deck_goes_on() -> None:
    deck, other = ClassDeck(50, seed=1), ClassDeck(50, seed=2)
    assert not np.array_equal(deck.deal(30), other.deal(30))
    restored = ClassDeck(50, seed=1)
    restored.load_state_dict(deck.state_dict())
    assert np.array_equal(restored.deal(30), deck.deal(30))


@pytest.mark.parametrize("num_classes", [2, 10, 100, 1000])
@pytest.mark.parametrize("batch", [2, 7, 128, 400])
def test_no_deal_exceeds_the_largest_count(num_classes: int, batch: int) -> None:
    deck = ClassDeck(num_classes, seed=3)
    assert all(np.bincount(deck.deal(batch)).max() <= largest_count(batch, num_classes) for _ in range(40))


def test_dealt_classes_go_to_the_images_that_are_nearest_to_them() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.8, 0.0, 0.2], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], np.float32)
    assert nearest_order(scores, np.array([2, 1, 0, 0])).tolist() == [0, 0, 1, 2]
    assert nearest_order(scores, np.array([2, 2, 1, 0])).tolist() == [0, 2, 1, 2]
    even = nearest_order(np.zeros((6, 3), np.float32), np.array([0, 1, 2, 0, 1, 2]))
    assert np.bincount(even).tolist() == [2, 2, 2]


@pytest.mark.parametrize("num_classes", [2, 1000])
def test_of_many_classes_only_those_that_were_dealt_are_ordered(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    dealt = ClassDeck(num_classes, seed=0).deal(128)
    order = nearest_order(rng.normal(size=(128, num_classes)).astype(np.float32), dealt)
    assert sorted(order) == sorted(dealt)
