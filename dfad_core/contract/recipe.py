"""Everything in which one method differs from another. Torch-free.

A field named `*_weight` weighs the term of `dfad_core.methods.terms` that names it; at 0 the term is never
computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """A method with all weights settled."""

    # Where images come from.
    source: Literal["generator", "search", "pixels", "noise", "level_sets"] = "generator"
    """`generator`: one network, trained on from round to round. `search`: generator and z, fitted to each
    batch. `pixels`: the images themselves, fitted likewise. `noise` and `level_sets` are drawn."""
    restart: Literal["round", "meta", "every"] = "round"
    """Where a search's generator starts: at fresh weights each round; at a common start that is learned too
    (first-order MAML); or at the last round's weights, with fresh ones each `restart_rounds`."""
    restart_rounds: int = 0
    search_rate: float = 1e-3
    """Adam's rate within a search, for everything it fits."""
    search_beta: float = 0.5
    """Adam's beta_1 within a search, and of the common start."""
    noisy_labels: bool = False
    """z from class embeddings, through a linear layer with fresh weights each round (NAYER)."""
    teacher_batch_statistics: bool = False
    """The teacher's BN layers normalise by the batch instead of their stored statistics."""

    # The loss of the generator, or of a search.
    adversarial: Literal["l1", "kl", "agreed", "jensen_shannon"] = "l1"
    """The gap between the two networks' logits that the generator maximises."""
    adversarial_weight: float = 1.0
    bn_weight: float = 0.0
    one_hot_weight: float = 0.0
    class_entropy_weight: float = 0.0
    feature_norm_weight: float = 0.0
    total_variation_weight: float = 0.0
    contrast_weight: float = 0.0

    # The loss of the student.
    imitation: Literal["l1", "squared", "kl", "kl_mean"] = "l1"
    """The gap between the two networks' logits that the student minimises. `kl` is summed over classes,
    `kl_mean` is its mean over classes, which matters where another term stands beside it."""
    imitation_weight: float = 1.0
    temperature: float = 1.0
    """Of the student's Kullback-Leibler divergence."""
    activation_weight: float = 0.0
    activation_margin: float = 1.0
    interpolation_weight: float = 0.0
    interpolation_concentration: float = 1.0
    interpolation_labels: Literal["interpolated", "requeried"] = "interpolated"
    attention_weight: float = 0.0

    # What the student is shown besides the round's own batch, in batches a round.
    level_set_batches: int = 0
    averaged_generator: bool = False
    """One batch of the generator's running average (MAD)."""
    feature_exchange: bool = False
    """One batch made with channels exchanged between pairs inside the generator (SpaceshipNet)."""
    same_batch: bool = False
    """All updates of a round use the round's own batch (ZSKT)."""

    student_average: float = 0.0
    """Decay of the running average of the student's weights that is the result; 0: the weights themselves."""
