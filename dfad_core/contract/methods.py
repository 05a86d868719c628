"""The catalogue of methods: one row a method. The trainer knows none of them by name.

All of them differ from their papers in three ways. Learning-rate schedules and optimizers are the engine's.
Batch size, latent dimension and generator are DFAD's unless the job sets them. Past batches come from a pool,
where the papers keep a folder of images or make new ones. Terms on BN statistics need a teacher with BN.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from dfad_core.contract.errors import ConfigError
from dfad_core.contract.recipe import Recipe


@dataclass(frozen=True)
class Method:
    """One row of the catalogue."""

    name: str
    title: str
    source: str
    """The paper it comes from, or `this project`."""
    summary: str
    """One line for people who choose a method."""
    notes: str
    """What it does, in the terms of its paper, and how it differs from the paper."""
    recipe: Recipe
    """The recipe, for all teachers unless one of the following is there."""
    recipe_without_bn: Recipe | None = None
    """For a teacher without BN; None: `recipe` without the terms on BN."""
    recipe_in_colour: Recipe | None = None
    """For a teacher with BN whose images have several channels; None: `recipe`."""
    needs_bn: bool = False
    """Whether nothing but the teacher's BN statistics keeps its images close to the training data."""

    def recipe_for(self, *, teacher_has_bn: bool, channels: int) -> Recipe:
        """The recipe for such a teacher, whose images have so many channels."""
        if not teacher_has_bn:
            return self.recipe_without_bn or self.recipe
        return (self.recipe_in_colour if channels > 1 else None) or self.recipe


_FANG = "Fang et al. 2019, arXiv 1912.11006"
_QU = "Qu, Wang, Xiao, ICASSP 2021, arXiv 2102.11638"

_COLLAGES = Recipe(
    source="collages",
    adversarial_weight=0.0,
    imitation="kl",
    temperature=4.0,
    single_images=True,
    mixed_share=0.5,
    chosen_images=True,
    start_from_teacher=True,
    view_uses=2,
    student_learning_rate=4e-3,
    student_steps=8,
    images_every=10,
    pool_batches=150,
    inner_steps=0,
)

_FITTED_COLLAGES = dataclasses.replace(
    _COLLAGES,
    source="pixels",
    first_images="collages",
    search_rate=0.1,
    search_decay=0.8,
    bn_weight=100.0,
    bn_distance="divergence",
    one_hot_weight=0.5,
    student_optimizer="sgd",
    student_learning_rate=0.1,
    inner_steps=20,
)

_ROWS = (
    Method(
        "auto",
        title="DFAD + AR + VI + BN",
        source=_QU,
        summary="dfad_ar_vi with a term on BN statistics where the teacher has BN",
        notes="""`dfad_ar_vi` with the BN-statistics term of Yin et al. 2020, arXiv 1912.08795, equation
        4. Labels of virtual samples are interpolated, which saves a pass of the teacher; a = 0.2 keeps
        most mixtures close to one of their two samples, where such labels are most accurate. Differs from
        the papers as `dfad_ar_vi` does.""",
        recipe=Recipe(
            activation_weight=0.1, interpolation_weight=0.5, interpolation_concentration=0.2, bn_weight=1.0
        ),
    ),
    Method(
        "dfad",
        title="DFAD",
        source=_FANG,
        summary="adversarial discrepancy alone",
        notes="""The adversarial discrepancy alone, section 3 (minimax training). Differs in the number of
        student updates for each generator update: 20, of which 19 use batches of the pool (5 on new images
        in the paper); in the order: the generator is updated first, and the student trains on the images
        from before that update; in the student's optimizer (SGD in the paper); in batch size, latent
        dimension and generator width, all smaller than the paper's for CIFAR.""",
        recipe=Recipe(),
    ),
    Method(
        "dfad_ar",
        title="DFAD + AR",
        source=_QU,
        summary="DFAD with the activation regularizer",
        notes="""DFAD with the activation regularizer, whose form is inferred from the abstract. Differs
        as `dfad` does. The weight comes from an ablation on 8x8 digits; the paper's is not published.""",
        recipe=Recipe(activation_weight=0.1),
    ),
    Method(
        "dfad_vi",
        title="DFAD + VI",
        source=_QU,
        summary="DFAD with virtual interpolation",
        notes="""DFAD with virtual interpolation, whose form is inferred from the abstract. Differs as
        `dfad` does. The weight comes from an ablation on 8x8 digits; the paper's is not published.""",
        recipe=Recipe(interpolation_weight=0.5),
    ),
    Method(
        "dfad_ar_vi",
        title="DFAD + AR + VI",
        source=_QU,
        summary="DFAD with activation regularizer and virtual interpolation",
        notes="""DFAD with both additions, whose forms are inferred from the abstract. Differs as
        `dfad_ar` and `dfad_vi` do.""",
        recipe=Recipe(activation_weight=0.1, interpolation_weight=0.5),
    ),
    Method(
        "best",
        title="Best for time spent",
        source="this project",
        summary="drawn images in colour or without BN, adversarial training for grey images with BN",
        notes="""For grey images and a teacher with BN: the adversarial discrepancy with terms on BN
        statistics and one-hot logits, which keep the images close to the training data; the result is the
        running average of the student's weights. In an ablation at equal time, activation regularizer and
        virtual interpolation lowered accuracy: they cost too many rounds. For colour images, and for a
        teacher without BN: `collages`.""",
        recipe=Recipe(
            bn_weight=1.0,
            one_hot_weight=0.3,
            student_average=0.99,
            student_steps=5,
        ),
        recipe_without_bn=_COLLAGES,
        recipe_in_colour=_FITTED_COLLAGES,
    ),
    Method(
        "noise",
        title="Noise",
        source="Raikwar and Mishra, NeurIPS 2022",
        summary="baseline: Gaussian noise, teacher's BN layers on batch statistics",
        notes="""Gaussian noise, labelled by the teacher with its BN layers on batch statistics: the
        baseline of "Discovering and overcoming limitations of noise-engineered data-free knowledge
        distillation". Differs in the student's loss (KL at temperature 4 here) and in replay from the
        pool.""",
        recipe=Recipe(
            source="noise",
            teacher_batch_statistics=True,
            adversarial_weight=0.0,
            imitation="kl",
            temperature=4.0,
            inner_steps=0,
        ),
    ),
    Method(
        "level_sets",
        title="Procedural images",
        source="after Baradad et al. 2021, arXiv 2106.05963",
        summary="level sets of smooth random fields, no generator",
        notes="""Level sets of smooth random fields, labelled by the teacher. The paper's idea is to learn
        from procedural images. Differs in the images, and in having a teacher.""",
        recipe=Recipe(
            source="level_sets",
            adversarial_weight=0.0,
            student_steps=5,
            inner_steps=0,
        ),
    ),
    Method(
        "collages",
        title="Chosen collages",
        source="this project",
        summary="drawn images, chosen by and fitted to the teacher's statistics, no generator",
        notes="""Drawn images of five families (dead leaves, coloured noise, random shaders, random
        networks, contours), alone or two in one. Each image has a share, so that their statistics come close
        to those of the teacher's data. The student begins with the teacher's weights where both have the
        same layers, and is trained on single images, cropped, mirrored and mixed, which the teacher labels
        again. For a teacher with BN each batch is fitted in a few steps, by its pixels: to the BN statistics
        and to classes of which all are equally frequent, each near the image's own.""",
        recipe=_FITTED_COLLAGES,
        recipe_without_bn=_COLLAGES,
    ),
    Method(
        "dafl",
        title="DAFL",
        source="Chen et al. 2019, arXiv 1904.01186",
        summary="generator trained for confident, balanced classes and strong features; no adversarial term",
        notes="""One-hot, activation and entropy terms without an adversarial term; the total loss of the
        paper. The weights are those of the authors' code for CIFAR-10 (oh 0.05, a 0.01, ie 5 with a
        logarithm to base 10, which is 5 / ln 10 here); the code has others for MNIST (1, 0.1, 5) and
        CIFAR-100 (0.5, 0.1, 20). One student update for each generator update, on the same batch, by SGD at
        0.1, and the generator's rate of 0.02, as in the authors' code for CIFAR-10. Differs in batch size
        (1,024 in the paper) and latent dimension (1,000).""",
        recipe=Recipe(
            adversarial_weight=0.0,
            one_hot_weight=0.05,
            feature_norm_weight=0.01,
            class_entropy_weight=5 / math.log(10),
            imitation="kl",
            same_batch=True,
            student_optimizer="sgd",
            student_learning_rate=0.1,
            generator_learning_rate=0.02,
            student_steps=1,
            pool_batches=0,
        ),
    ),
    Method(
        "zskt",
        title="ZSKT",
        source="Micaelli and Storkey 2019, arXiv 1905.09768",
        summary="adversarial KL divergence with attention transfer, ten student updates on the same batch",
        notes="""Adversarial KL divergence with attention transfer, algorithm 1: ten student updates on the
        same batch, which the teacher labels once. The student's KL is the mean over images and classes, as
        in the authors' code, and so is the attention weight. Differs in the attention maps, here of
        rectified pre-activations at matched stages; in the student, which trains on images from before the
        generator's update; in the generator (without tanh, with an affine last BN in the paper), and in
        having no gradient clipping (at norm 5 in the paper).""",
        recipe=Recipe(
            adversarial="kl",
            imitation="kl_mean",
            attention_weight=250.0,
            same_batch=True,
            weight_decay=0.0,
            student_steps=10,
            pool_batches=0,
        ),
    ),
    Method(
        "dfq",
        title="DFQ",
        source="Choi et al. 2020, arXiv 2005.04136",
        summary="adversarial KL divergence with terms on BN statistics, confidence and class balance",
        notes="""Adversarial KL divergence with terms on BN statistics, confidence and class balance: the
        generator's loss of data-free adversarial distillation, in the paper for quantisation. Five student
        updates on new images for each generator update, SGD at 0.1 and the weights are those of CMI's code,
        whose tables have DFQ as a peer. Differs from the paper in one student and one generator (the paper
        averages several); in the BN term (the KL of Gaussians in the paper), and in constant weights (the
        paper anneals one after a warm-up of the generator).""",
        recipe=Recipe(
            adversarial="kl",
            bn_weight=1.0,
            one_hot_weight=1.0,
            class_entropy_weight=20.0,
            imitation="kl",
            temperature=20.0,
            student_optimizer="sgd",
            student_learning_rate=0.1,
            weight_decay=1e-4,
            student_steps=5,
            pool_batches=0,
        ),
        needs_bn=True,
    ),
    Method(
        "deepinversion",
        title="Adaptive DeepInversion",
        source="Yin et al. 2020, arXiv 1912.08795",
        summary="images fitted pixel by pixel, kept in the pool",
        notes="""Images fitted pixel by pixel: adaptive DeepInversion with the R_BN weight 10 and the
        jitter of the authors' code. The images of least loss are kept; the student is in eval mode during
        the fit. The student is trained by SGD at 0.1 on shifted and mirrored images. Differs in 200 steps
        for each batch (2,000 in the paper for CIFAR-10, with which a short job would have a few batches
        only), and in a true Jensen-Shannon divergence (reversed and clamped in the code).""",
        recipe=Recipe(
            source="pixels",
            adversarial="jensen_shannon",
            bn_weight=10.0,
            one_hot_weight=1.0,
            total_variation_weight=2.5e-5,
            search_rate=0.1,
            search_beta=0.9,
            imitation="kl",
            temperature=3.0,
            single_images=True,
            views="shifted",
            student_optimizer="sgd",
            student_learning_rate=0.1,
            weight_decay=1e-4,
            student_steps=200,
            pool_batches=400,
            inner_steps=200,
        ),
        needs_bn=True,
    ),
    Method(
        "cmi",
        title="CMI",
        source="Fang et al. 2021, arXiv 2105.08584",
        summary="generator and z fitted to every batch, with a contrastive term",
        notes="""Contrastive model inversion, algorithm 1: generator and z are fitted to each batch from
        fresh weights. The images of least loss are kept, the student is in eval mode during the fit, and
        the local view is a random resized crop. Images are fitted and shown shifted and mirrored, and the
        teacher labels each view; SGD at 0.1. Differs in the contrastive term, whose negatives are the
        batch alone (4,096 of a bank of 40,960 in the paper) and which has no projection head; in one rate
        for z and generator, and in 200 student updates a batch.""",
        recipe=Recipe(
            source="search",
            restart="round",
            adversarial="agreed",
            adversarial_weight=0.5,
            bn_weight=1.0,
            one_hot_weight=1.0,
            contrast_weight=0.8,
            imitation="kl",
            temperature=20.0,
            fitted_views=True,
            single_images=True,
            views="shifted",
            student_optimizer="sgd",
            student_learning_rate=0.1,
            weight_decay=1e-4,
            student_steps=200,
            pool_batches=400,
            inner_steps=200,
        ),
        needs_bn=True,
    ),
    Method(
        "fast",
        title="FastDFKD",
        source="Fang et al. 2022, arXiv 2112.06253",
        summary="generator with meta-learned initial weights, fitted to every batch in a few steps",
        notes="""A generator whose initial weights are meta-learned, algorithm 1: first-order MAML, in which
        Adam updates the initial weights by the sum of the gradients of all inner steps, at the inner rate
        times their number. The images of least loss are kept; the student is in eval mode during the fit.
        Images are fitted and shown shifted and mirrored, and the teacher labels each view; SGD at 0.2; in
        the first eleventh of the budget the student waits (20 of 220 epochs in the paper). Differs in
        having no running average of BN statistics; in one rate for z and generator, and in 50 student
        updates a batch (400 in the paper), with which a short job has batches enough.""",
        needs_bn=True,
        recipe=Recipe(
            source="search",
            restart="meta",
            search_rate=5e-3,
            adversarial="agreed",
            adversarial_weight=1.1,
            bn_weight=10.0,
            one_hot_weight=0.4,
            imitation="kl",
            temperature=20.0,
            fitted_views=True,
            warm_up=1 / 11,
            single_images=True,
            views="shifted",
            student_optimizer="sgd",
            student_learning_rate=0.2,
            weight_decay=1e-4,
            student_steps=50,
            pool_batches=400,
            inner_steps=5,
        ),
    ),
    Method(
        "nayer",
        title="NAYER",
        source="Tran et al. 2024, arXiv 2310.00258",
        summary="generator fitted to every batch from class embeddings, through a noisy layer",
        notes="""Class embeddings through a noisy layer, algorithm 1, with a generator that is initialised
        again every 20 batches. The images of least loss are kept; the student is in eval mode during the
        fit. Images are fitted and shown shifted and mirrored, and the teacher labels each view; SGD at 0.2;
        in the first eleventh of the budget the student waits (20 of 220 epochs in the paper). Differs in
        the embeddings, one-hot class indices unless the caller supplies others (a language
        model's in the paper), and their scale; in one noisy layer for the first image of every class, one
        for the second, and so on, and in batch size and length (400 images, 400 student updates an epoch
        in the paper).""",
        needs_bn=True,
        recipe=Recipe(
            source="search",
            restart="every",
            restart_rounds=20,
            search_rate=4e-3,
            noisy_labels=True,
            adversarial="agreed",
            adversarial_weight=1.33,
            bn_weight=10.0,
            one_hot_weight=0.5,
            imitation="kl",
            temperature=20.0,
            fitted_views=True,
            warm_up=1 / 11,
            single_images=True,
            views="shifted",
            student_optimizer="sgd",
            student_learning_rate=0.2,
            weight_decay=1e-4,
            student_steps=100,
            pool_batches=400,
            inner_steps=30,
        ),
    ),
    Method(
        "mad",
        title="MAD",
        source="Do et al. 2022, arXiv 2209.10359",
        summary="adversarial KL divergence, the student also learns from the generator's running average",
        notes="""Momentum adversarial distillation, section 3: the student also learns from images of the
        generator's running average, which still makes what the generator no longer makes. Differs in an
        unconditional generator, and in the pool, which replays past images as well.""",
        needs_bn=True,
        recipe=Recipe(
            adversarial="kl", bn_weight=1.0, one_hot_weight=1.0, imitation="kl", averaged_generator=True
        ),
    ),
    Method(
        "spaceshipnet",
        title="SpaceshipNet",
        source="Yu et al. 2023, CVPR",
        summary="generator fitted to every batch, with features exchanged between images",
        notes="""Channel-wise feature exchange, section 3: the student also learns from images whose
        features were exchanged between pairs inside the generator. Differs in attention maps of matched
        stages in place of multi-scale activation regions, and in the search, which is that of `fast`, with
        its differences.""",
        needs_bn=True,
        recipe=Recipe(
            source="search",
            restart="meta",
            search_rate=5e-3,
            adversarial_weight=0.0,
            bn_weight=1.0,
            one_hot_weight=0.5,
            imitation="kl",
            temperature=30.0,
            attention_weight=1.0,
            feature_exchange=True,
            student_steps=50,
            pool_batches=400,
            inner_steps=5,
        ),
    ),
)

METHODS: Mapping[str, Method] = {row.name: row for row in _ROWS}


def get_method(name: str) -> Method:
    """The method called `name`. Raises ConfigError (`unknown_method`) where there is none."""
    try:
        return METHODS[name]
    except KeyError:
        raise ConfigError(f"unknown method {name!r}", code="unknown_method", param="name") from None
