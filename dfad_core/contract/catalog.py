"""The catalogue of methods. Torch-free: a service reads it without the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dfad_core.errors import ConfigError


@dataclass(frozen=True)
class Method:
    """One preset, described for people; the terms themselves live in `dfad_core.methods`."""

    name: str
    title: str
    source: str
    summary: str
    student_steps: int = 20
    """Student updates a round, where the job names none."""
    pool_batches: int = 50
    """Batches kept and shown again, where the job names none."""
    inner_steps: int = 1
    """Gradient steps spent on the images of one round, where the job names none."""


_FANG = "Fang et al. 2019, arXiv 1912.11006"
_QU = "Qu, Wang, Xiao, ICASSP 2021, arXiv 2102.11638"

METHODS: Mapping[str, Method] = {
    m.name: m
    for m in (
        Method("auto", "DFAD + AR + VI + BN", _QU, "dfad_ar_vi, plus BN statistics where the teacher has BN"),
        Method("dfad", "DFAD", _FANG, "adversarial discrepancy alone"),
        Method("dfad_ar", "DFAD + AR", _QU, "with the activation regularizer"),
        Method("dfad_vi", "DFAD + VI", _QU, "with virtual interpolation"),
        Method("dfad_ar_vi", "DFAD + AR + VI", _QU, "with both"),
        Method(
            "best",
            "Best for time spent",
            "this project",
            "with BN the game held near the data, without BN procedural images; averaged weights",
            student_steps=5,
        ),
        Method(
            "noise",
            "Noise",
            "Raikwar and Mishra, NeurIPS 2022",
            "Gaussian noise, teacher's BN on batch statistics: the baseline",
            inner_steps=0,
        ),
        Method(
            "level_sets",
            "Procedural images",
            "after Baradad et al. 2021, arXiv 2106.05963",
            "level sets of smooth random fields alone, nothing generated",
            student_steps=5,
            inner_steps=0,
        ),
        Method(
            "dafl",
            "DAFL",
            "Chen et al. 2019, arXiv 1904.01186",
            "generator after sure, strong and balanced answers of the teacher, no game",
        ),
        Method(
            "zskt",
            "ZSKT",
            "Micaelli and Storkey 2019, arXiv 1905.09768",
            "KL game with attention transfer, ten answers on the same batch",
            student_steps=10,
            pool_batches=0,
        ),
        Method(
            "dfq",
            "DFQ",
            "Choi et al. 2020, arXiv 2005.04136",
            "KL game with BN statistics, sure and balanced answers",
        ),
        Method(
            "deepinversion",
            "Adaptive DeepInversion",
            "Yin et al. 2020, arXiv 1912.08795",
            "images fitted pixel by pixel, kept in the pool",
            student_steps=200,
            pool_batches=400,
            inner_steps=200,
        ),
        Method(
            "cmi",
            "CMI",
            "Fang et al. 2021, arXiv 2105.08584",
            "generator and z fitted to every batch anew, images unlike each other",
            student_steps=200,
            pool_batches=400,
            inner_steps=200,
        ),
        Method(
            "fast",
            "FastDFKD",
            "Fang et al. 2022, arXiv 2112.06253",
            "a generator that learns to be fitted within a few steps",
            student_steps=50,
            pool_batches=400,
            inner_steps=5,
        ),
        Method(
            "nayer",
            "NAYER",
            "Tran et al. 2024, arXiv 2310.00258",
            "class embeddings through a noisy layer",
            student_steps=100,
            pool_batches=400,
            inner_steps=30,
        ),
        Method(
            "mad",
            "MAD",
            "Do et al. 2022, arXiv 2209.10359",
            "KL game, the student also learns from the generator's running average",
        ),
        Method(
            "spaceshipnet",
            "SpaceshipNet",
            "Yu et al. 2023, CVPR",
            "fitted generator with features exchanged between images",
            student_steps=50,
            pool_batches=400,
            inner_steps=5,
        ),
    )
}


def get_method(name: str) -> Method:
    """The preset called `name`; ConfigError (`unknown_method`) otherwise."""
    try:
        return METHODS[name]
    except KeyError:
        raise ConfigError(f"unknown method {name!r}", code="unknown_method", param="name") from None
