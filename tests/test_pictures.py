"""The parts that draw and compare pictures, each against a reference that is not ours."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pipelines.tasks.parts.answers.frechet import frechet_distance, moments
from pipelines.tasks.parts.pictures import ddpm, drawn, gan, generated, picture_input, simple_pictures
from registry.version.trial import Trial, difference

SHAPE = (1, 8, 8)
sqrtm = pytest.importorskip("scipy.linalg").sqrtm  # scikit-learn brings it


def test_the_distance_is_that_of_scipys_root() -> None:
    """Heusel et al. compute it with scipy's sqrtm of the product of both covariances."""
    random = np.random.default_rng(3)
    one, two = (random.standard_normal((200, 6)) @ random.standard_normal((6, 6)) + at for at in (0.0, 0.5))
    (m1, c1), (m2, c2) = ((rows.mean(axis=0), np.cov(rows.T)) for rows in (one, two))
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * np.real(sqrtm(c1 @ c2)))
    found = frechet_distance(*(moments(rows, np.ones(len(rows))) for rows in (one, two)))
    assert found == pytest.approx(expected, rel=1e-9)


def test_the_distance_of_independent_features_is_known() -> None:
    """Of normal distributions with diagonal covariances: the distance of the means and of the deviations, squared."""
    one = (np.array([0.0, 1.0]), np.diag([4.0, 9.0]))
    two = (np.array([3.0, 1.0]), np.diag([1.0, 0.0]))
    assert frechet_distance(one, two) == pytest.approx(3**2 + (2 - 1) ** 2 + (3 - 0) ** 2)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_weights_count_as_repeated_rows() -> None:
    random = np.random.default_rng(3)
    features, times = random.standard_normal((50, 4)), random.integers(0, 4, 50)
    repeated = np.repeat(features, times, axis=0)
    mean, covariance = moments(features, times.astype(float))
    np.testing.assert_allclose(mean, repeated.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(repeated.T), atol=1e-12)


def _said(features: np.ndarray, scores: np.ndarray, extractor: int = 5) -> dict[str, np.ndarray]:
    return {"features": features, "scores": scores, "extractor": np.full(len(features), extractor)}


def test_metrics_of_a_resample_are_those_of_its_rows() -> None:
    """What the bootstrap and the swap test need: measure() once, then score() with any weights."""
    random = np.random.default_rng(3)
    said = _said(random.standard_normal((60, 3)) + 7, random.random((60, 4)))
    truth = {
        "label": random.integers(0, 4, 60), "real_features": random.standard_normal((60, 3)) + 7,
        "real_extractor": np.full(60, 5),
    }  # fmt: skip
    times = random.integers(0, 3, 60)
    found = generated.score(generated.measure({**said, **truth}), times.astype(float))
    rows = {name: np.repeat(array, times, axis=0) for name, array in {**said, **truth}.items()}
    (m1, c1), (m2, c2) = ((rows[name].mean(axis=0), np.cov(rows[name].T)) for name in ("features", "real_features"))
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * np.real(sqrtm(c1 @ c2)))
    assert found["frechet_distance"] == pytest.approx(expected, rel=1e-6)
    assert found["class_asked"] == pytest.approx((rows["scores"].argmax(axis=1) == rows["label"]).mean())


def test_features_of_another_extractor_are_not_compared() -> None:
    said = _said(np.zeros((4, 3)), np.ones((4, 2)), extractor=6)
    truth = {"label": np.zeros(4, int), "real_features": np.zeros((4, 3)), "real_extractor": np.full(4, 5)}
    found = generated.score(generated.measure({**said, **truth}), np.ones(4))
    assert all(np.isnan(value) for value in found.values())


def test_the_schedule_falls_as_it_was_published() -> None:
    """Nichol & Dhariwal 2021, equation 17, whose alpha bar is the square of our signal."""
    signal = ddpm.cosine_schedule(100)
    at = np.arange(1, 101) / 100
    published = np.cos((at + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(signal.square().numpy()[:-1], published[:-1], atol=1e-6)
    assert 0 < signal[-1] < 0.01


def test_drawing_stops_at_times_evenly_spread() -> None:
    assert ddpm.drawing_times(1000, 4) == [999, 749, 499, 249]
    assert ddpm.drawing_times(3, 50) == [2, 1, 0]


def _sampler(**settings: object) -> ddpm.Sampler:
    told = {"widths": [8], "steps": 100, "drawing_steps": 5, **settings}
    return ddpm.Sampler(ddpm.Settings.model_validate(told), SHAPE, 3)


def test_a_step_with_the_true_noise_keeps_picture_and_noise() -> None:
    """By hand: signal x picture + spread x noise at the later time, whatever the earlier one was."""
    sampler = _sampler()
    picture, noise = torch.rand(2, *SHAPE) * 2 - 1, torch.randn(2, *SHAPE)
    early, late = torch.tensor([60, 60]), torch.tensor([20, 20])
    signal, spread = (
        value.view(-1, 1, 1, 1) for value in (sampler.signal[early], (1 - sampler.signal[early] ** 2).sqrt())
    )
    noisy, said = signal * picture + spread * noise, signal * noise - spread * picture
    expected = sampler.signal[20] * picture + (1 - sampler.signal[20] ** 2).sqrt() * noise
    torch.testing.assert_close(sampler.step(noisy, said, early, late), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(sampler.step(noisy, said, early, None), picture, atol=1e-5, rtol=0)


def test_guidance_moves_away_from_what_is_said_of_no_class() -> None:
    sampler = _sampler(guidance=3.0)

    class Told(nn.Module):
        """Says the class number itself, and 3 of no class."""

        def forward(self, noisy: torch.Tensor, times: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return labels.view(-1, 1, 1, 1).float().expand_as(noisy)

    sampler.unet = Told()  # type: ignore[assignment]
    said = sampler._said(torch.zeros(2, *SHAPE), torch.zeros(2, dtype=torch.int64), torch.tensor([0, 1]))
    assert said[:, 0, 0, 0].tolist() == [3 + 3 * (0 - 3), 3 + 3 * (1 - 3)]


def test_the_discriminator_sees_every_picture_moved_by_itself() -> None:
    """Against pictures cut out of padded ones by hand."""
    pictures = torch.arange(2 * 36).view(2, 1, 6, 6).float()
    padded = nn.functional.pad(pictures, (2, 2, 2, 2), mode="replicate")
    torch.manual_seed(1)
    found = gan.moved(pictures, 2)
    for one, wide in zip(found, padded, strict=True):
        assert any(torch.equal(one, wide[:, y : y + 6, x : x + 6]) for y in range(5) for x in range(5))
    assert torch.equal(gan.moved(pictures, 0), pictures)


@pytest.mark.parametrize(
    "module",
    [gan.Gan(gan.Settings(noise=4, width=4), SHAPE, 3), ddpm.Diffusion(ddpm.Settings(widths=[8], steps=20), SHAPE, 3)],
)
def test_validation_is_the_same_every_time_and_draws_nothing(module: nn.Module) -> None:
    """A resumed training would else go on with other noise than one that was never killed."""
    batch = {"pixels": torch.rand(4, *SHAPE), "labels": torch.tensor([0, 1, 2, 0])}
    turns = gan.TURNS[:1] if isinstance(module, gan.Gan) else ddpm.TURNS
    before = torch.get_rng_state()
    with torch.no_grad():
        first, again = (turns[0].loss(module.eval(), batch) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(before, torch.get_rng_state())


def test_gaussian_pictures_have_the_mean_and_covariance_of_their_class() -> None:
    random = np.random.default_rng(3)
    mixed = random.standard_normal((400, 4)) @ random.standard_normal((4, 4)) * 12
    pixels = (128 + mixed).round().clip(0, 255).astype(np.uint8).reshape(400, 1, 2, 2)
    labels = np.arange(400) % 2
    pixels[labels == 1] //= 2
    drawn_pixels = simple_pictures.gaussian_pictures(pixels, labels, np.ones(5000, np.int64), list(range(5000)))
    own, said = pixels[labels == 1].reshape(-1, 4).astype(float), drawn_pixels.reshape(-1, 4).astype(float)
    np.testing.assert_allclose(said.mean(axis=0), own.mean(axis=0), atol=1.5)
    np.testing.assert_allclose(np.cov(said.T), np.cov(own.T), rtol=0.15, atol=8)


def test_a_picture_comes_back_from_its_text() -> None:
    for channels in (1, 3):
        pixels = np.random.default_rng(1).integers(0, 256, (channels, 5, 7), dtype=np.uint8)
        uri = drawn.as_uri(pixels)
        assert uri.startswith("data:image/png;base64,")
        np.testing.assert_array_equal(drawn.from_uri(uri), pixels)
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    np.testing.assert_array_equal(drawn.as_pixels(drawn.as_pictures(pixels)), pixels)


def test_a_served_picture_may_round_a_pixel_otherwise() -> None:
    """Another batch moves the last bits of what a network says; what is seen of it is one level of 255."""
    pixels = np.full((1, 4, 4), 100, dtype=np.uint8)
    near, far = pixels.copy(), pixels.copy()
    near[0, 1, 1], far[0, 1, 1] = 101, 103
    expected = pd.DataFrame({"picture": [drawn.as_uri(pixels)]})
    for served, word in (
        (pixels, None),
        (near, None),
        (far, "picture of input 1"),
        (pixels[:, :3], "picture of input 1"),
    ):
        found = difference(Trial({}, {"picture": [drawn.as_uri(served)]}), expected)
        assert found is word or (word is not None and word in str(found))


def test_a_sample_of_rows_is_spread_over_all_of_them() -> None:
    """Rows may come sorted by class: the first ones alone would know one."""
    rows = pd.DataFrame({"at": range(23)})
    batches = [rows[:10], rows[10:13], rows[13:]]
    assert picture_input.spread(batches, 6)["at"].tolist() == [0, 4, 8, 12, 16, 20]
    assert picture_input.spread(batches, 100)["at"].tolist() == list(range(23))
