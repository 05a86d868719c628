"""The methods, one row each: a composition of the same parts. The trainer knows none of them by name.

What all of them share, and where that differs from the papers: Adam and the engine's own schedules, batch and
generator (DFAD's) unless the job says otherwise, and a pool of past batches where the papers keep a
folder of images or make new ones. Terms on BN statistics apply where the teacher has BN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dfad_core.contract.recipe import Recipe
from dfad_core.errors import ConfigError


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
        notes="""`dfad_ar_vi` with the BN-statistics term of Yin et al. 2020, arXiv 1912.08795, equation 4.
        Mixed labels spare the teacher a second pass; a = 0.2 keeps most mixtures near real samples, where
        they hold best.""",
        recipe=Recipe(
            activation_weight=0.1, interpolation_weight=0.5, interpolation_concentration=0.2, bn_weight=1.0
        ),
    ),
    Method(
        "dfad",
        title="DFAD",
        source=_FANG,
        summary="adversarial discrepancy alone",
        notes="""Adversarial discrepancy alone. Fang et al. 2019, arXiv 1912.11006, section 3 (the minimax
        game). Differs from the paper in the pool: its student sees new images at every update.""",
        recipe=Recipe(),
    ),
    Method(
        "dfad_ar",
        title="DFAD + AR",
        source=_QU,
        summary="with the activation regularizer",
        notes="""DFAD with the activation regularizer. Qu et al. 2021, arXiv 2102.11638 (its form is
        inferred). The weight is that of an ablation on 8x8 digits; the paper's own is not published.""",
        recipe=Recipe(activation_weight=0.1),
    ),
    Method(
        "dfad_vi",
        title="DFAD + VI",
        source=_QU,
        summary="with virtual interpolation",
        notes="""DFAD with virtual interpolation. Qu et al. 2021, arXiv 2102.11638 (its form is inferred).
        The weight is that of an ablation on 8x8 digits; the paper's own is not published.""",
        recipe=Recipe(interpolation_weight=0.5),
    ),
    Method(
        "dfad_ar_vi",
        title="DFAD + AR + VI",
        source=_QU,
        summary="with both",
        notes="""DFAD with both. Qu et al. 2021, arXiv 2102.11638 (their forms are inferred).""",
        recipe=Recipe(activation_weight=0.1, interpolation_weight=0.5),
    ),
    Method(
        "best",
        title="Best for time spent",
        source="this project",
        summary="with BN the game held near the data, without BN procedural images; averaged weights",
        notes="""Ours, for a teacher with BN: the game, held near the data by BN statistics and sure
        answers. What ablation at equal time left of `auto`: regularizer and interpolation cost more rounds
        than they earn. The student handed out is the running average of its weights.""",
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
        baseline. Raikwar and Mishra 2022 (NeurIPS), "Discovering and overcoming limitations of noise-
        engineered data-free knowledge distillation". Differs in the discrepancy (KL at temperature 4
        here).""",
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
        give. After the idea of Baradad et al. 2021, arXiv 2106.05963 (learning from procedural noise).""",
        recipe=Recipe(source="level_sets", adversarial_weight=0.0),
        student_steps=5,
        inner_steps=0,
    ),
    Method(
        "dafl",
        title="DAFL",
        source="Chen et al. 2019, arXiv 1904.01186",
        summary="generator after sure, strong and balanced answers of the teacher, no game",
        notes="""One-hot, activation and entropy terms, no game. Chen et al. 2019, arXiv 1904.01186, its
        total loss. Differs in the pool, and in the activation term's weight, which the public code takes
        as 1e-3 over the mean of the features.""",
        recipe=Recipe(
            adversarial_weight=0.0,
            one_hot_weight=1.0,
            feature_norm_weight=1e-3,
            class_entropy_weight=20.0,
            imitation="kl",
        ),
    ),
    Method(
        "zskt",
        title="ZSKT",
        source="Micaelli and Storkey 2019, arXiv 1905.09768",
        summary="KL game with attention transfer, ten answers on the same batch",
        notes="""KL game with attention transfer. Micaelli and Storkey 2019, arXiv 1905.09768, its
        algorithm 1. The student answers several times on the same batch, about which the teacher is asked
        once. Differs in attention maps of pre-activations rectified at the stages that both networks
        share.""",
        recipe=Recipe(adversarial="kl", imitation="kl", attention_weight=250.0, same_batch=True),
        student_steps=10,
        pool_batches=0,
    ),
    Method(
        "dfq",
        title="DFQ",
        source="Choi et al. 2020, arXiv 2005.04136",
        summary="KL game with BN statistics, sure and balanced answers",
        notes="""KL game kept near the data by BN statistics, sureness and class balance. Choi et al. 2020,
        arXiv 2005.04136, its generator loss (data-free adversarial distillation, there for quantisation).
        Differs in one student and one generator where the paper averages several.""",
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
        notes="""Images fitted pixel by pixel. Yin et al. 2020, arXiv 1912.08795, adaptive DeepInversion.
        Differs in the steps spent on a batch: the paper's 2,000 (CIFAR-10) would leave a short job with a
        few batches, so the catalogue has a tenth of them.""",
        recipe=Recipe(
            source="pixels",
            adversarial="jensen_shannon",
            bn_weight=1.0,
            one_hot_weight=1.0,
            total_variation_weight=2.5e-5,
            search_rate=0.1,
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
        summary="generator and z fitted to every batch anew, images unlike each other",
        notes="""Contrastive model inversion. Fang et al. 2021, arXiv 2105.08584, its algorithm 1.
        Generator and z are fitted to every batch anew. Differs in the contrastive term (negatives from the
        batch alone, no projection head) and in taking the last images of a fit, not those of least loss.""",
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
        notes="""A generator that learns to be fitted quickly. Fang et al. 2022, arXiv 2112.06253, its
        algorithm 1. First-order MAML over the generator and z. Differs in having no warm-up without the
        student, and in fitting z and generator at one rate.""",
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
        notes="""Class embeddings through a noisy layer. Tran et al. 2024, arXiv 2310.00258, its algorithm
        1. Differs in the embeddings, which are one-hot class indices unless the caller supplies others
        (the paper's come from a language model), and in one noisy layer for each group of as many images
        as there are classes.""",
        recipe=Recipe(
            source="search",
            restart="every",
            restart_rounds=50,
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
        notes="""Momentum adversarial distillation. Do et al. 2022, arXiv 2209.10359, section 3. The
        student also learns from the generator's running average, which remembers what the generator has
        left. Differs in unconditional generators.""",
        recipe=Recipe(
            adversarial="kl", bn_weight=1.0, one_hot_weight=1.0, imitation="kl", averaged_generator=True
        ),
    ),
    Method(
        "spaceshipnet",
        title="SpaceshipNet",
        source="Yu et al. 2023, CVPR",
        summary="fitted generator with features exchanged between images",
        notes="""Channel-wise feature exchange. Yu et al. 2023, CVPR, section 3 (SpaceshipNet). The student
        is also shown images whose features were exchanged between pairs inside the generator. Differs in
        attention maps of the shared stages in the place of multi-scale activation regions.""",
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
