"""The methods, each one a composition of the same parts. The trainer knows none of them by name.

How many updates each takes a round is in `dfad_core.contract.catalog`, where the service reads it too.
What all of them share, and where that differs from the papers: Adam and the engine's own schedules, batch and
generator (DFAD's) unless the job says otherwise, and a pool of past batches where the papers keep a
folder of images or make new ones. Terms on BN statistics play where the teacher has BN.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from dfad_core.contract.catalog import get_method
from dfad_core.contract.config import MethodConfig
from dfad_core.methods.recipe import Recipe, override


def dfad() -> Recipe:
    """Adversarial discrepancy alone. Fang et al. 2019, arXiv 1912.11006, section 3 (the minimax game).

    Differs from the paper in the pool: its student sees new images at every update.
    """
    return Recipe()


def dfad_ar() -> Recipe:
    """DFAD with the activation regularizer. Qu et al. 2021, arXiv 2102.11638 (its form is inferred).

    The weight is that of an ablation on 8x8 digits; the paper's own is not published.
    """
    return Recipe(activation_weight=0.1)


def dfad_vi() -> Recipe:
    """DFAD with virtual interpolation. Qu et al. 2021, arXiv 2102.11638 (its form is inferred).

    The weight is that of an ablation on 8x8 digits; the paper's own is not published.
    """
    return Recipe(interpolation_weight=0.5)


def dfad_ar_vi() -> Recipe:
    """DFAD with both. Qu et al. 2021, arXiv 2102.11638 (their forms are inferred)."""
    return Recipe(activation_weight=0.1, interpolation_weight=0.5)


def auto() -> Recipe:
    """`dfad_ar_vi` with the BN-statistics term of Yin et al. 2020, arXiv 1912.08795, equation 4.

    Mixed labels spare the teacher a second pass; a = 0.2 keeps most mixtures near real samples, where
    they hold best.
    """
    return dataclasses.replace(dfad_ar_vi(), interpolation_concentration=0.2, bn_weight=1.0)


def noise() -> Recipe:
    """Gaussian noise, labelled by the teacher with its BN layers on batch statistics: the baseline.

    Raikwar and Mishra 2022 (NeurIPS), "Discovering and overcoming limitations of noise-engineered
    data-free knowledge distillation". Differs in the discrepancy (KL at temperature 4 here).
    """
    return Recipe(
        source="noise",
        teacher_batch_statistics=True,
        adversarial_weight=0.0,
        imitation="kl",
        temperature=4.0,
    )


def level_sets() -> Recipe:
    """Level sets of smooth random fields, labelled by the teacher: what procedural images alone give.

    After the idea of Baradad et al. 2021, arXiv 2106.05963 (learning from procedural noise).
    """
    return Recipe(source="level_sets", adversarial_weight=0.0)


def dafl() -> Recipe:
    """One-hot, activation and entropy terms, no game. Chen et al. 2019, arXiv 1904.01186, its total loss.

    Differs in the pool, and in the activation term's weight, which the public code takes as 1e-3 over
    the mean of the features.
    """
    return Recipe(
        adversarial_weight=0.0,
        one_hot_weight=1.0,
        feature_norm_weight=1e-3,
        class_entropy_weight=20.0,
        imitation="kl",
    )


def zskt() -> Recipe:
    """KL game with attention transfer. Micaelli and Storkey 2019, arXiv 1905.09768, its algorithm 1.

    The student answers several times on the same batch, about which the teacher is asked once. Differs
    in attention maps of pre-activations rectified at the stages that both networks share.
    """
    return Recipe(adversarial="kl", imitation="kl", attention_weight=250.0, same_batch=True)


def dfq() -> Recipe:
    """KL game kept near the data by BN statistics, sureness and class balance.

    Choi et al. 2020, arXiv 2005.04136, its generator loss (data-free adversarial distillation, there for
    quantisation). Differs in one student and one generator where the paper averages several.
    """
    return Recipe(
        adversarial="kl", bn_weight=1.0, one_hot_weight=1.0, class_entropy_weight=1.0, imitation="kl"
    )


def deepinversion() -> Recipe:
    """Images fitted pixel by pixel. Yin et al. 2020, arXiv 1912.08795, adaptive DeepInversion.

    Differs in the steps spent on a batch: the paper's 2,000 (CIFAR-10) would leave a short job with
    a few batches, so the catalogue has a tenth of them.
    """
    return Recipe(
        source="pixels",
        adversarial="jensen_shannon",
        bn_weight=1.0,
        one_hot_weight=1.0,
        total_variation_weight=2.5e-5,
        search_rate=0.1,
        imitation="kl",
        temperature=3.0,
    )


def cmi() -> Recipe:
    """Contrastive model inversion. Fang et al. 2021, arXiv 2105.08584, its algorithm 1.

    Generator and z are fitted to every batch anew. Differs in the contrastive term (negatives from
    the batch alone, no projection head) and in taking the last images of a fit, not those of least loss.
    """
    return Recipe(
        source="search",
        restart="round",
        adversarial="agreed",
        adversarial_weight=0.5,
        bn_weight=1.0,
        one_hot_weight=1.0,
        contrast_weight=0.8,
        imitation="kl",
        temperature=20.0,
    )


def fast() -> Recipe:
    """A generator that learns to be fitted quickly. Fang et al. 2022, arXiv 2112.06253, its algorithm 1.

    First-order MAML over the generator and z. Differs in having no warm-up without the student, and in
    fitting z and generator at one rate.
    """
    return Recipe(
        source="search",
        restart="meta",
        search_rate=5e-3,
        adversarial="agreed",
        adversarial_weight=1.1,
        bn_weight=10.0,
        one_hot_weight=0.4,
        imitation="kl",
        temperature=20.0,
    )


def nayer() -> Recipe:
    """Class embeddings through a noisy layer. Tran et al. 2024, arXiv 2310.00258, its algorithm 1.

    Differs in the embeddings, which are one-hot class indices unless the caller supplies others (the
    paper's come from a language model), and in one noisy layer for each group of as many images as
    there are classes.
    """
    return Recipe(
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
    )


def mad() -> Recipe:
    """Momentum adversarial distillation. Do et al. 2022, arXiv 2209.10359, section 3.

    The student also learns from the generator's running average, which remembers what the generator has
    left. Differs in unconditional generators.
    """
    return Recipe(
        adversarial="kl", bn_weight=1.0, one_hot_weight=1.0, imitation="kl", averaged_generator=True
    )


def spaceshipnet() -> Recipe:
    """Channel-wise feature exchange. Yu et al. 2023, CVPR, section 3 (SpaceshipNet).

    The student is also shown images whose features were exchanged between pairs inside the generator.
    Differs in attention maps of the shared stages in the place of multi-scale activation regions.
    """
    return Recipe(
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
    )


def best() -> Recipe:
    """Ours, for a teacher with BN: the game, held near the data by BN statistics and sure answers.

    What ablation at equal time left of `auto`: regularizer and interpolation cost more rounds than they
    earn. The student handed out is the running average of its weights.
    """
    return Recipe(bn_weight=1.0, one_hot_weight=0.3, student_average=0.99)


def best_without_bn() -> Recipe:
    """Ours, for a teacher without BN: level sets of random fields, squared error of logits, averaged weights.

    Nothing holds a generator near the data there, and at equal time its images taught less than these.
    """
    return Recipe(source="level_sets", adversarial_weight=0.0, imitation="squared", student_average=0.99)


PRESETS: Mapping[str, Callable[[], Recipe]] = {
    preset.__name__: preset
    for preset in (
        best,
        auto,
        dfad,
        dfad_ar,
        dfad_vi,
        dfad_ar_vi,
        noise,
        level_sets,
        dafl,
        zskt,
        dfq,
        deepinversion,
        cmi,
        fast,
        nayer,
        mad,
        spaceshipnet,
    )
}


_WITHOUT_BN: Mapping[str, Callable[[], Recipe]] = {"best": best_without_bn}
"""What stands in a preset's place where the teacher has no BN statistics."""


def resolve_recipe(config: MethodConfig, *, teacher_has_bn: bool) -> Recipe:
    """The preset `config.name` under the job's own values.

    Raises ConfigError (`unknown_method`) for a name that is not in the catalogue.
    """
    name = get_method(config.name).name
    preset = PRESETS[name] if teacher_has_bn else _WITHOUT_BN.get(name, PRESETS[name])
    return override(preset(), config, teacher_has_bn=teacher_has_bn)
