"""The methods, one row each: a composition of the same parts. The trainer knows none of them by name.

All of them differ from their papers in the engine's own schedules and optimizers of student and generator, in
batch, latent dimension and generator (DFAD's) unless the job sets them, and in a pool of past batches where
the papers keep a folder of images or make new ones. Terms on BN statistics apply where the teacher has BN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dfad_core.contract.errors import ConfigError
from dfad_core.contract.recipe import Recipe


@dataclass(frozen=True)
class Method:
    """One method: what it is called, where it comes from and what it consists of."""

    name: str
    title: str
    source: str
    """The paper, or who else."""
    summary: str
    """One line for people who choose a method."""
    notes: str
    """What it does in the words of its paper, and where it differs from that."""
    recipe: Recipe
    recipe_without_bn: Recipe | None = None
    """The recipe for a teacher without BN; None: the same without the terms on BN."""
    needs_bn: bool = False
    """Whether only the teacher's BN statistics hold its images near the data."""
    student_steps: int = 20
    """Student updates a round, unless the job sets them."""
    pool_batches: int = 50
    """Batches in the pool, unless the job sets them."""
    inner_steps: int = 1
    """Gradient steps spent on the images of one round, unless the job sets them."""


_FANG = "Fang et al. 2019, arXiv 1912.11006"
_QU = "Qu, Wang, Xiao, ICASSP 2021, arXiv 2102.11638"

_ROWS = (
    Method(
        "auto",
        title="DFAD + AR + VI + BN",
        source=_QU,
        summary="dfad_ar_vi, plus BN statistics where the teacher has BN",
        notes="""`dfad_ar_vi` with the BN-statistics term of Yin et al. 2020, arXiv 1912.08795, equation
        4. Mixed labels spare the teacher a second pass; a = 0.2 keeps most mixtures near samples, where
        they hold best. Differs from its parts' papers as `dfad_ar_vi` does.""",
        recipe=Recipe(
            activation_weight=0.1, interpolation_weight=0.5, interpolation_concentration=0.2, bn_weight=1.0
        ),
    ),
    Method(
        "dfad",
        title="DFAD",
        source=_FANG,
        summary="adversarial discrepancy alone",
        notes="""The adversarial discrepancy alone, section 3 (the minimax game). Differs in 20 student
        updates for each of the generator, 19 of them on batches of the pool, where the paper has 5 on new
        images; in the order (the generator first, the student then on the images from before its update);
        in the student's optimizer (SGD there), and in batch, latent dimension and generator width, all
        smaller than the paper's for CIFAR.""",
        recipe=Recipe(),
    ),
    Method(
        "dfad_ar",
        title="DFAD + AR",
        source=_QU,
        summary="with the activation regularizer",
        notes="""DFAD with the activation regularizer, whose form is inferred from the abstract. Differs
        as `dfad` does; the weight is that of an ablation on 8x8 digits, the paper's own is not published.""",
        recipe=Recipe(activation_weight=0.1),
    ),
    Method(
        "dfad_vi",
        title="DFAD + VI",
        source=_QU,
        summary="with virtual interpolation",
        notes="""DFAD with virtual interpolation, whose form is inferred from the abstract. Differs as
        `dfad` does; the weight is that of an ablation on 8x8 digits, the paper's own is not published.""",
        recipe=Recipe(interpolation_weight=0.5),
    ),
    Method(
        "dfad_ar_vi",
        title="DFAD + AR + VI",
        source=_QU,
        summary="with both",
        notes="""DFAD with both additions, whose forms are inferred from the abstract. Differs as
        `dfad_ar` and `dfad_vi` do.""",
        recipe=Recipe(activation_weight=0.1, interpolation_weight=0.5),
    ),
    Method(
        "best",
        title="Best for time spent",
        source="this project",
        summary="with BN the game held near the data, without BN procedural images; averaged weights",
        notes="""For a teacher with BN: the adversarial discrepancy, held near the data by BN statistics
        and a one-hot term. Ablation at equal time left this of `auto`: regularizer and interpolation cost
        more rounds than they earn. For a teacher without BN: level sets of random fields and squared
        errors of logits; at equal time a generator's images taught less. The result is the running
        average of the student's weights.""",
        recipe=Recipe(bn_weight=1.0, one_hot_weight=0.3, student_average=0.99),
        recipe_without_bn=Recipe(
            source="level_sets", adversarial_weight=0.0, imitation="squared", student_average=0.99
        ),
        student_steps=5,
    ),
    Method(
        "noise",
        title="Noise",
        source="Raikwar and Mishra, NeurIPS 2022",
        summary="Gaussian noise, teacher's BN on batch statistics: the baseline",
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
        ),
        inner_steps=0,
    ),
    Method(
        "level_sets",
        title="Procedural images",
        source="after Baradad et al. 2021, arXiv 2106.05963",
        summary="level sets of smooth random fields alone, nothing generated",
        notes="""Level sets of smooth random fields, labelled by the teacher: what procedural images alone
        teach. After the idea of learning from procedural noise, with other images and a teacher.""",
        recipe=Recipe(source="level_sets", adversarial_weight=0.0),
        student_steps=5,
        inner_steps=0,
    ),
    Method(
        "dafl",
        title="DAFL",
        source="Chen et al. 2019, arXiv 1904.01186",
        summary="generator trained for confident, strong and balanced logits, without an adversary",
        notes="""One-hot, activation and entropy terms without an adversary; the total loss of the paper.
        The weights are those of the authors' code for CIFAR-10 (oh 0.05, a 0.01, ie 5 with a logarithm to
        base 10, which is 5 / ln 10 here); it has others for MNIST (1, 0.1, 5) and CIFAR-100 (0.5, 0.1,
        20). Differs in 20 student updates for each of the generator, most of them on batches of the pool,
        where the paper has one on the same batch; in the generator's rate (0.02 there), the student's
        SGD, batch (1,024) and latent dimension (1,000).""",
        recipe=Recipe(
            adversarial_weight=0.0,
            one_hot_weight=0.05,
            feature_norm_weight=0.01,
            class_entropy_weight=5 / math.log(10),
            imitation="kl",
        ),
    ),
    Method(
        "zskt",
        title="ZSKT",
        source="Micaelli and Storkey 2019, arXiv 1905.09768",
        summary="KL game with attention transfer, ten student updates on the same batch",
        notes="""KL game with attention transfer, algorithm 1: ten student updates on the same batch,
        which the teacher labels once. The student's KL is the mean over images and classes, as in the
        authors' code, whose attention weight this is. Differs in attention maps, here of rectified
        pre-activations at the stages that both networks share; in the student training on images from
        before the generator's update; in the generator (no tanh and an affine last BN there), and in
        having no gradient clipping (at norm 5 there).""",
        recipe=Recipe(adversarial="kl", imitation="kl_mean", attention_weight=250.0, same_batch=True),
        student_steps=10,
        pool_batches=0,
    ),
    Method(
        "dfq",
        title="DFQ",
        source="Choi et al. 2020, arXiv 2005.04136",
        summary="KL game with BN statistics, confident and balanced logits",
        notes="""KL game with terms on BN statistics, confidence and class balance: the generator's loss
        of data-free adversarial distillation, there for quantisation. Differs in one student and one
        generator where the paper averages several; in the BN term (the KL of Gaussians there); in
        constant weights of 1 (there one is annealed after a warm-up of the generator), and in replay from
        the pool.""",
        recipe=Recipe(
            adversarial="kl", bn_weight=1.0, one_hot_weight=1.0, class_entropy_weight=1.0, imitation="kl"
        ),
        needs_bn=True,
    ),
    Method(
        "deepinversion",
        title="Adaptive DeepInversion",
        source="Yin et al. 2020, arXiv 1912.08795",
        summary="images fitted pixel by pixel, kept in the pool",
        notes="""Images fitted pixel by pixel: adaptive DeepInversion with the R_BN weight 10 and the
        jitter of the authors' code; the images of least loss are kept, and the student is in eval mode
        meanwhile. Differs in 200 steps for each batch, where the paper has 2,000 (CIFAR-10), which would
        leave a short job with a few batches; in a true Jensen-Shannon divergence (reversed and clamped in
        the code), and in replay of whole batches from the pool with stored logits, without augmentation.""",
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
        ),
        needs_bn=True,
        student_steps=200,
        pool_batches=400,
        inner_steps=200,
    ),
    Method(
        "cmi",
        title="CMI",
        source="Fang et al. 2021, arXiv 2105.08584",
        summary="generator and z fitted to every batch, images unlike each other",
        notes="""Contrastive model inversion, algorithm 1: generator and z are fitted to each batch from
        fresh weights; the images of least loss are kept, the student is in eval mode meanwhile, and the
        local view is a random resized crop. Differs in the contrastive term, whose negatives are the
        batch alone (4,096 of a bank of 40,960 there) and which has no projection head; in fitting
        unaugmented images; in replay of whole batches from the pool with stored logits (augmented there,
        the teacher asked again), and in 200 student updates a batch.""",
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
        ),
        needs_bn=True,
        student_steps=200,
        pool_batches=400,
        inner_steps=200,
    ),
    Method(
        "fast",
        title="FastDFKD",
        source="Fang et al. 2022, arXiv 2112.06253",
        summary="a generator that learns to be fitted within a few steps",
        notes="""A generator that learns to be fitted quickly, algorithm 1: first-order MAML, where the
        gradients of all inner steps move the common start by Adam at the inner rate times the steps; the
        images of least loss are kept, and the student is in eval mode meanwhile. Differs in having no
        warm-up without the student (20 epochs there) and no running average of BN statistics; in one rate
        for z and generator; in fitting unaugmented images; in replay of whole batches from the pool with
        stored logits (augmented there, the teacher asked again), and in 50 student updates a batch (400
        there).""",
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
        ),
        student_steps=50,
        pool_batches=400,
        inner_steps=5,
    ),
    Method(
        "nayer",
        title="NAYER",
        source="Tran et al. 2024, arXiv 2310.00258",
        summary="class embeddings through a noisy layer",
        notes="""Class embeddings through a noisy layer, algorithm 1, with a generator renewed every 20
        batches; the images of least loss are kept, and the student is in eval mode meanwhile. Differs in
        the embeddings, one-hot class indices unless the caller supplies others (a language model's
        there), and their scale; in one noisy layer for the first image of every class, one for the
        second, and so on; in having no warm-up without the student (200 batches there); in fitting
        unaugmented images; in replay of whole batches from the pool with stored logits (augmented there,
        the teacher asked again), and in batch and length (400 images, 400 student updates an epoch
        there).""",
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
        ),
        student_steps=100,
        pool_batches=400,
        inner_steps=30,
    ),
    Method(
        "mad",
        title="MAD",
        source="Do et al. 2022, arXiv 2209.10359",
        summary="KL game, the student also learns from the generator's running average",
        notes="""Momentum adversarial distillation, section 3: the student also learns from the
        generator's running average, which remembers what the generator has left. Differs in an
        unconditional generator, and in the pool: it is a memory too, so that this is the paper's memory
        on top of another.""",
        needs_bn=True,
        recipe=Recipe(
            adversarial="kl", bn_weight=1.0, one_hot_weight=1.0, imitation="kl", averaged_generator=True
        ),
    ),
    Method(
        "spaceshipnet",
        title="SpaceshipNet",
        source="Yu et al. 2023, CVPR",
        summary="fitted generator with features exchanged between images",
        notes="""Channel-wise feature exchange, section 3: the student is also shown images whose features
        were exchanged between pairs inside the generator. Differs in attention maps of the shared stages
        in place of multi-scale activation regions, and in the search, which is that of `fast`, with its
        differences.""",
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
        ),
        student_steps=50,
        pool_batches=400,
        inner_steps=5,
    ),
)

METHODS: Mapping[str, Method] = {row.name: row for row in _ROWS}


def get_method(name: str) -> Method:
    """The method called `name`; ConfigError (`unknown_method`) otherwise."""
    try:
        return METHODS[name]
    except KeyError:
        raise ConfigError(f"unknown method {name!r}", code="unknown_method", param="name") from None
