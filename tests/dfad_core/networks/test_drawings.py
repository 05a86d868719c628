import numpy as np
import pytest
import torch

from dfad_core.networks.drawings import Collages, LevelSets, NoiseImages
from dfad_core.networks.drawings.canvas import Canvas
from dfad_core.networks.drawings.collages import FAMILIES, Family
from dfad_core.networks.feature_exchange import exchanging_features
from dfad_core.networks.generator import Generator
from dfad_core.networks.pixel_range import PixelRange, preprocessed_range


def test_noise_is_z_itself() -> None:
    source = NoiseImages((3, 8, 10))
    z = torch.randn(4, source.latent_dim)
    assert torch.equal(source(z).flatten(1), z)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 17, 40)])
def test_level_sets_are_images_before_the_preprocessing(shape: tuple[int, int, int]) -> None:
    mean, std = (0.3,) * shape[0], (0.2,) * shape[0]
    source = LevelSets(shape, preprocessed_range(mean, std, "given"))
    images = source(torch.randn(64, source.latent_dim)) * 0.2 + 0.3
    assert images.shape == (64, *shape)
    assert images.min() >= -1e-5
    assert images.max() <= 1 + 1e-5
    assert images.std() > 0.1


def test_level_sets_without_preprocessing_are_normalised() -> None:
    source = LevelSets((3, 16, 16))
    images = source(torch.randn(64, source.latent_dim))
    assert images.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(images.var(dim=(0, 2, 3), correction=0), torch.ones(3), rtol=1e-3, atol=0)


def test_level_sets_follow_z_alone() -> None:
    source = LevelSets((1, 12, 12), preprocessed_range((0.5,), (0.5,), "given"))
    z = torch.randn(6, source.latent_dim)
    assert torch.equal(source(z), source(z))
    torch.testing.assert_close(source(z)[2:3], source(z[2:3]))


def test_a_dark_mean_makes_bright_figures() -> None:
    dark, light = (LevelSets((1, 16, 16), preprocessed_range((m,), (0.3,), "given")) for m in (0.1, 0.9))
    z = torch.randn(256, dark.latent_dim)
    assert dark(z).mul(0.3).add(0.1).mean() < 0.45
    assert light(z).mul(0.3).add(0.9).mean() > 0.55


def test_feature_exchange_mixes_pairs_and_ends() -> None:
    generator = Generator(8, 4, (1, 8, 8)).eval()
    z = torch.randn(6, 8)
    plain = generator(z)
    with exchanging_features(generator, np.random.default_rng(0)):
        mixed = generator(z)
    assert mixed.shape == plain.shape
    assert not torch.equal(mixed, plain)
    assert torch.equal(generator(z), plain)


def test_feature_exchange_takes_half_of_the_channels_from_a_partner() -> None:
    layer = torch.nn.BatchNorm2d(4).eval()
    x = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 4, 2, 2).clone()
    with exchanging_features(torch.nn.Sequential(layer), np.random.default_rng(1)):
        y = layer(x)
    foreign = (y != layer(x)).flatten(2).any(dim=2)
    assert foreign.any(dim=0).sum() <= 2  # never more than half of the channels
    for row in y.flatten(2)[:, :, 0]:
        assert len(row.unique()) <= 2  # itself and one partner


def test_feature_exchange_without_inner_norms_does_nothing() -> None:
    plain = torch.nn.Linear(3, 3)
    with exchanging_features(plain, np.random.default_rng(0)):
        assert plain(torch.zeros(1, 3)).shape == (1, 3)


def test_raw_pixels_of_mean_0_and_deviation_1_lie_between_0_and_1() -> None:
    source = LevelSets((1, 8, 8), preprocessed_range((0.0,), (1.0,), "given"))
    images = source(torch.randn(64, source.latent_dim))
    assert images.min() >= 0
    assert 0.9 < images.max() <= 1


def test_without_black_and_white_images_have_the_given_statistics() -> None:
    pixels = PixelRange((100.0, 120.0, 90.0), (50.0, 60.0, 40.0))
    source, noise = LevelSets((3, 16, 16), pixels), NoiseImages((3, 16, 16), pixels)
    for images in (source(torch.randn(64, source.latent_dim)), noise(torch.randn(64, noise.latent_dim))):
        assert images.mean((0, 2, 3)).tolist() == pytest.approx([100, 120, 90], abs=2)
        assert images.std((0, 2, 3)).tolist() == pytest.approx([50, 60, 40], abs=2)


SHAPES = [(1, 8, 8), (3, 32, 32), (2, 17, 40), (3, 64, 48)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", [family for family, _ in FAMILIES], ids=lambda f: f.__name__)
def test_every_family_draws_between_black_and_white(family: Family, shape: tuple[int, int, int]) -> None:
    images = family(Canvas(12, *shape, torch.Generator().manual_seed(0)))
    assert images.shape == (12, *shape)
    assert images.isfinite().all()
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.flatten(1).std(dim=1).median() > 0.03  # something is to be seen
    again = family(Canvas(12, *shape, torch.Generator().manual_seed(0)))
    assert torch.equal(images, again)


@pytest.mark.parametrize("shape", SHAPES)
def test_collages_follow_z_alone(shape: tuple[int, int, int]) -> None:
    pixels = preprocessed_range((0.3,) * shape[0], (0.2,) * shape[0], "given")
    source = Collages(shape, pixels)
    z = torch.randn(6, source.latent_dim)
    images = source(z)
    assert torch.equal(images, source(z))
    assert not torch.equal(images, source(z + 1))
    assert (images * 0.2 + 0.3).min() >= -1e-5
    assert (images * 0.2 + 0.3).max() <= 1 + 1e-5


def test_collages_leave_torchs_own_stream_alone() -> None:
    before = torch.get_rng_state()
    Collages((3, 8, 8))(torch.zeros(4, 1))
    assert torch.equal(before, torch.get_rng_state())


def test_collages_of_an_unknown_range_are_normalised() -> None:
    images = Collages((3, 16, 16))(torch.zeros(64, 1))
    assert images.mean(dim=(0, 2, 3)).abs().max() < 1e-5


def test_collages_have_the_datas_mean_and_deviation_where_these_are_known() -> None:
    for mean, std in (((0.2,), (0.3,)), ((0.7,), (0.15,))):
        pixels = preprocessed_range(mean, std, "given")
        images = Collages((1, 16, 16), pixels)(torch.zeros(512, 1))
        assert abs(images.mean()) < 0.25  # in units of the data's deviation
        assert 0.7 < images.std() < 1.3


def test_large_images_are_drawn_in_parts_and_follow_from_z(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draw = Collages.draw

    def counted(self: Collages, count: int, stream: torch.Generator) -> torch.Tensor:
        drawn.append(count)
        return draw(self, count, stream)

    monkeypatch.setattr(Collages, "draw", counted)
    monkeypatch.setattr("dfad_core.networks.drawings.collages.DRAWN_AT_ONCE", 3 * 3 * 16 * 16)
    collages, z = Collages((3, 16, 16)), torch.randn(8, 1, generator=torch.Generator().manual_seed(0))
    images = collages(z)
    assert drawn == [3, 3, 2]
    assert images.shape == (8, 3, 16, 16)
    assert torch.equal(images, collages(z))
    assert images.flatten(1).unique(dim=0).shape[0] == 8
