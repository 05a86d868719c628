"""Everything in which one method differs from another. Torch-free.

A field `…_weight` is the weight of a term of `dfad_core.methods.terms`; at 0 the term is never computed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

FIRST_BATCHES = 16
"""Batches in the pool before the first update of a student of single images."""
VIEWS_KEPT = 4
"""Labelled batches of single images that serve in turn, where each serves for several updates."""


@dataclass(frozen=True)
class Recipe:
    """All weights and choices of a method."""

    # Where images come from.
    source: Literal["generator", "search", "pixels", "noise", "level_sets", "collages"] = "generator"
    """`generator`: one network, trained over all rounds. `search`: generator and z, fitted to each batch.
    `pixels`: the images themselves, fitted to each batch. `noise`, `level_sets`, `collages`: random images,
    nothing is trained for them."""
    restart: Literal["round", "meta", "every"] = "round"
    """Where a search's generator starts. `round`: at fresh weights. `meta`: at a common start that is learned
    too (first-order MAML). `every`: at the last round's weights, and at fresh ones every `restart_rounds`."""
    restart_rounds: int = 0
    """Rounds between fresh weights, for `every`."""
    search_rate: float = 1e-3
    """Adam's learning rate within a search."""
    search_decay: float = 0.0
    """Share of that rate by which it falls, linearly, within a search."""
    search_beta: float = 0.5
    """Adam's beta_1, within a search and for the common start."""
    noisy_labels: bool = False
    """z is made from class embeddings by a linear layer with fresh weights in each round (NAYER)."""
    teacher_batch_statistics: bool = False
    """The teacher's BN layers normalise by the batch instead of their stored statistics."""

    fitted_views: bool = False
    """A search fits views of its images, shifted and mirrored, each in a view of its own at each step."""
    warm_up: float = 0.0
    """Share of the budget, at the start, in which the student does not train and images are fitted without
    it. For searches."""

    first_images: Literal["noise", "collages"] = "noise"
    """Where the images of `pixels` begin. From drawings, coarse grids are fitted beside the pixels, within
    the range of pixels, and the requested classes are those nearest to the images."""

    # The loss of the generator, or of a search.
    adversarial: Literal["l1", "kl", "agreed", "jensen_shannon"] = "l1"
    """The gap between the two networks' logits that the generator maximises."""
    adversarial_weight: float = 1.0
    bn_weight: float = 0.0
    bn_distance: Literal["norms", "divergence"] = "norms"
    """The measure of the term on BN statistics: norms of differences, summed over layers (DeepInversion), or
    the divergence of normal distributions, a mean over channels and layers (as in DFQ)."""
    one_hot_weight: float = 0.0
    class_entropy_weight: float = 0.0
    feature_norm_weight: float = 0.0
    total_variation_weight: float = 0.0
    contrast_weight: float = 0.0

    # The loss of the student.
    imitation: Literal["l1", "squared", "kl", "kl_mean"] = "l1"
    """The gap between the two networks' logits that the student minimises. `kl` is the sum over classes,
    `kl_mean` their mean; the difference matters where the student has another term as well."""
    imitation_weight: float = 1.0
    temperature: float = 1.0
    """Temperature of the student's Kullback-Leibler divergence."""
    activation_weight: float = 0.0
    activation_margin: float = 1.0
    activation_decay: float = 0.0
    """Share of the budget in which the regularizer's weight falls to 0, linearly; 0: it stays."""
    interpolation_weight: float = 0.0
    interpolation_concentration: float = 1.0
    interpolation_labels: Literal["interpolated", "requeried"] = "interpolated"
    attention_weight: float = 0.0

    # The student's batches besides the round's own.
    level_set_batches: int = 0
    """Extra batches of level sets in each round."""
    averaged_generator: bool = False
    """One extra batch in each round, from the generator's running average (MAD)."""
    feature_exchange: bool = False
    """One extra batch in each round, with channels exchanged between pairs of images inside the generator
    (SpaceshipNet)."""
    single_images: bool = False
    """Batches are made of views of single images of the pool, labelled by the teacher again. Otherwise they
    are whole batches of past rounds with their logits."""
    views: Literal["cropped", "shifted", "whole"] = "cropped"
    """How single images are seen. `cropped`: a part of each, mirrored. `shifted`: by up to an eighth of the
    side, and mirrored, as CIFAR's images usually are. `whole`: as they are."""
    mixed_share: float = 0.0
    """Share of the single images that are seen mixed with another: virtual interpolation in place of a
    repeat, labelled by the teacher again."""
    chosen_images: bool = False
    """Images of the pool have shares with which their statistics come near to the teacher's data
    (`dfad_core.methods.image_choice`). For `single_images`."""
    view_uses: int = 1
    """Updates in a round for which each labelled batch of `single_images` serves."""
    same_batch: bool = False
    """All updates of a round use the round's own batch (ZSKT)."""

    # Optimizer and amounts, unless the job sets them.
    student_optimizer: Literal["sgd", "adam"] = "adam"
    student_learning_rate: float | None = None
    """Peak rate of the student; None: the default of its optimizer."""
    generator_learning_rate: float = 1e-3
    """Adam's rate for the generator of source `generator`; 1e-3 as in DFAD."""
    weight_decay: float = 5e-4
    """Of the student's kernels and matrices; 5e-4 as in DFAD's CIFAR recipe."""
    student_steps: int = 20
    """Student updates in each round."""
    images_every: int = 1
    """Rounds for each round with new images, which is the first of them; in the others the student trains on
    images of the pool alone."""
    pool_batches: int = 50
    """Batches in the pool."""
    inner_steps: int = 1
    """Gradient steps on the images of a round; 0 where nothing is learned there."""

    start_from_teacher: bool = False
    """The student begins with the teacher's tensors that have the name and shape of its own, if they are half
    of its own or more."""
    student_average: float = 0.0
    """Decay of the running average of the student's weights, which is the result; 0: the weights themselves
    are."""

    @property
    def labelled_batches(self) -> int:
        """Batches of views that the teacher labels in a round; 0 without `single_images`."""
        if not self.single_images:
            return 0
        whole, rest = divmod(self.student_steps, VIEWS_KEPT * self.view_uses)
        return whole * VIEWS_KEPT + min(rest, VIEWS_KEPT)

    def with_settings(self, *settings: object) -> Recipe:
        """This recipe with the attributes of `settings` that are called as its fields and are not None.

        Where nothing is learned from gradients of images, their number stays 0. The learning rate of this
        recipe is not used with another optimizer.
        """
        names = {field.name for field in dataclasses.fields(Recipe)}
        own = {name: value for one in settings for name, value in vars(one).items() if name in names}
        own = {name: value for name, value in own.items() if value is not None}
        if self.inner_steps == 0:
            own.pop("inner_steps", None)
        if own.get("student_optimizer", self.student_optimizer) != self.student_optimizer:
            own.setdefault("student_learning_rate", None)
        return dataclasses.replace(self, **own)
