"""All that can make one method differ from another, and how a job's own settings change it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from dfad_core.contract.config import MethodConfig


@dataclass(frozen=True)
class Recipe:
    """A method with all weights settled. A term of weight 0 is never computed."""

    # Where images come from.
    source: Literal["generator", "search", "pixels", "noise", "level_sets"] = "generator"
    """`generator`: one network that plays on from round to round. `search`: generator and z, fitted to
    each batch anew. `pixels`: the images themselves, likewise. The other two learn nothing."""
    restart: Literal["round", "meta", "every"] = "round"
    """Of a search's generator: fresh weights each round; a common start that is learned too (first-order
    MAML); or the last round's weights, fresh ones each `restart_rounds`."""
    restart_rounds: int = 0
    search_rate: float = 1e-3
    """Adam's rate within a search, for everything it fits."""
    noisy_labels: bool = False
    """z from class embeddings, through a linear layer with fresh weights each round (NAYER)."""
    teacher_batch_statistics: bool = False
    """The teacher's BN layers normalise by the batch, not by what they have stored."""

    # What the generator, or the search, is after.
    adversarial: Literal["l1", "kl", "agreed", "jensen_shannon"] = "l1"
    adversarial_weight: float = 1.0
    bn_weight: float = 0.0
    one_hot_weight: float = 0.0
    class_entropy_weight: float = 0.0
    feature_norm_weight: float = 0.0
    total_variation_weight: float = 0.0
    contrast_weight: float = 0.0

    # What the student is after.
    imitation: Literal["l1", "squared", "kl"] = "l1"
    imitation_weight: float = 1.0
    temperature: float = 1.0
    """Of the student's Kullback-Leibler divergence."""
    activation_weight: float = 0.0
    activation_margin: float = 1.0
    interpolation_weight: float = 0.0
    interpolation_concentration: float = 1.0
    interpolation_labels: Literal["interpolated", "requeried"] = "interpolated"
    attention_weight: float = 0.0

    # What the student is shown beside the round's own batch, in batches a round.
    level_set_batches: int = 0
    averaged_generator: bool = False
    """One batch of the generator's running average (MAD)."""
    feature_exchange: bool = False
    """One batch made with channels exchanged between pairs inside the generator (SpaceshipNet)."""
    same_batch: bool = False
    """All updates of a round use the round's own batch (ZSKT)."""

    student_average: float = 0.0
    """Decay of the running average of the student's weights that is handed out; 0: the weights themselves."""


def override(preset: Recipe, config: MethodConfig, *, teacher_has_bn: bool) -> Recipe:
    """`preset` under the job's own values; no BN terms for a teacher without BN."""
    names = {f.name for f in dataclasses.fields(Recipe)} & {f.name for f in dataclasses.fields(MethodConfig)}
    given = {name: getattr(config, name) for name in names}
    recipe = dataclasses.replace(preset, **{k: v for k, v in given.items() if v is not None})
    if teacher_has_bn:
        return recipe
    return dataclasses.replace(recipe, bn_weight=0.0, contrast_weight=0.0, teacher_batch_statistics=False)
