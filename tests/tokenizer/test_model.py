import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dar import packed_linear
from dar.errors import DARError
from dar.flow import shifted_time
from dar.images import centre_crop, to_pixels
from dar.randomness import draw_noise
from dar.tokenizer import SequentialDiffusionTokenizer, TokenizerConfig
from tests import tiny

GROUP = tiny.TOKENIZER.tokens_per_group


def previews(tokenizer: SequentialDiffusionTokenizer, tokens: Tensor, **options: object) -> list[Tensor]:
    return list(tokenizer.denoise(tokens.split(GROUP, dim=1), tiny.noise(len(tokens)), **options))


@pytest.fixture
def network_calls(tokenizer: SequentialDiffusionTokenizer):  # type: ignore[no-untyped-def]
    """Grows by one entry a call of the velocity network."""
    calls: list[None] = []
    handle = tokenizer.diffusion_decoder.out.register_forward_hook(lambda *_: calls.append(None))
    yield calls
    handle.remove()


def test_encode_gives_tokens_and_is_deterministic(tokenizer: SequentialDiffusionTokenizer) -> None:
    pixels = tiny.pixels(3)
    tokens = tokenizer.encode(pixels)
    assert tokens.shape == (3, 8)
    assert tokens.dtype == torch.int64
    assert 0 <= tokens.min() < tokens.max() < 32
    torch.manual_seed(1)
    assert torch.equal(tokenizer.encode(pixels), tokens)
    assert torch.equal(torch.cat([tokenizer.encode(image[None]) for image in pixels]), tokens)


def test_encode_takes_pictures_of_any_kind(tokenizer: SequentialDiffusionTokenizer, tmp_path: Path) -> None:
    array = np.random.RandomState(0).randint(0, 256, (20, 30, 3), dtype=np.uint8)
    picture = Image.fromarray(array)
    picture.save(tmp_path / "a.png")
    expected = tokenizer.encode(to_pixels([centre_crop(picture, 16)]))
    for one in (picture, array, tmp_path / "a.png", str(tmp_path / "a.png"), [array], array[None]):
        assert torch.equal(tokenizer.encode(one), expected)
    assert torch.equal(tokenizer.encode([picture, array]), expected.expand(2, -1))
    assert tokenizer.encode(array[:, :, 0]).shape == (1, 8)


def test_training_mode_changes_nothing() -> None:
    tokenizer, pixels = tiny.tokenizer(), tiny.pixels(2)
    tokens = tokenizer.encode(pixels)
    images = tokenizer.decode(tokens)
    tokenizer.train()
    assert torch.equal(tokenizer.encode(pixels), tokens)
    assert torch.equal(tokenizer.decode(tokens), images)


def test_packed_weights_change_rounding_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of small layers are plain otherwise."""
    tokenizer, pixels = tiny.tokenizer(), tiny.pixels(2)
    tokens = tokenizer.encode(pixels)
    images = tokenizer.decode(tokens)
    monkeypatch.setattr(packed_linear, "SMALL_WEIGHT", 0)
    assert torch.equal(tokenizer.encode(pixels), tokens)
    torch.testing.assert_close(tokenizer.decode(tokens), images, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7])
def test_s_steps_make_s_network_calls_and_s_images(
    tokenizer: SequentialDiffusionTokenizer, network_calls: list[None], steps: int
) -> None:
    images = previews(tokenizer, tiny.tokens(2), steps=steps)
    assert len(network_calls) == len(images) == steps
    network_calls.clear()
    tokenizer.decode(tiny.tokens(2), steps=steps)
    assert len(network_calls) == steps


def test_decode_gives_images_in_range(tokenizer: SequentialDiffusionTokenizer) -> None:
    images = tokenizer.decode(tiny.tokens(2))
    assert images.shape == (2, 3, 16, 16)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert not images.requires_grad


@pytest.mark.parametrize("solver", ["euler", "adams-bashforth-2"])
@torch.no_grad()
def test_denoise_solves_the_flow(tokenizer: SequentialDiffusionTokenizer, solver: str) -> None:
    """Four steps written out from the formulas of the method."""
    tokens, x = tiny.tokens(2), tiny.noise(2)
    condition = tokenizer.condition(tokens).unflatten(1, (4, GROUP))
    times = [shifted_time(i / 4, 2.0) for i in range(5)]
    expected, before = [], None
    for i in range(4):
        velocity = tokenizer.velocity(x, times[i], condition[:, i])
        slope = velocity if solver == "euler" or before is None else 1.5 * velocity - 0.5 * before
        expected.append(((x + (1 - times[i]) * slope) / 0.6).clamp(-1, 1))
        x, before = x + (times[i + 1] - times[i]) * slope, velocity
    for found, wanted in zip(previews(tokenizer, tokens, solver=solver), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [4, 8, 12])
def test_decoding_a_prefix_gives_a_preview_to_the_bit(tokenizer: SequentialDiffusionTokenizer, steps: int) -> None:
    tokens, noise = tiny.tokens(2), tiny.noise(2)
    images = previews(tokenizer, tokens, steps=steps)
    for num_groups in range(1, 5):
        groups_of_steps = [min(int(i / steps * 4 + 0.5), 3) for i in range(steps)]
        last = max(i for i, group in enumerate(groups_of_steps) if group < num_groups)
        decoded = tokenizer.decode(tokens, noise=noise, steps=steps, num_tokens=num_groups * GROUP)
        assert torch.equal(decoded, images[last])


def test_previews_differ_from_each_other_and_end_with_the_image(tokenizer: SequentialDiffusionTokenizer) -> None:
    images = previews(tokenizer, tiny.tokens(2))
    assert torch.equal(images[-1], tokenizer.decode(tiny.tokens(2), noise=tiny.noise(2)))
    assert all(not torch.allclose(one, other, atol=1e-3) for one, other in itertools.pairwise(images))


@pytest.mark.parametrize("num_tokens", [2, 3, 6])
def test_decoding_a_prefix_ignores_later_tokens(tokenizer: SequentialDiffusionTokenizer, num_tokens: int) -> None:
    tokens = tiny.tokens(2)
    used = num_tokens // GROUP * GROUP
    expected = tokenizer.decode(tokens, num_tokens=num_tokens)
    changed = tokens.clone()
    changed[:, used:] = (changed[:, used:] + 1) % 32
    assert torch.equal(tokenizer.decode(changed, num_tokens=num_tokens), expected)
    assert torch.equal(tokenizer.decode(tokens[:, :num_tokens], num_tokens=num_tokens), expected)
    changed[:, used - 1] = (changed[:, used - 1] + 1) % 32
    assert not torch.equal(tokenizer.decode(changed, num_tokens=num_tokens), expected)


def test_a_step_runs_as_soon_as_its_group_is_there(tokenizer: SequentialDiffusionTokenizer) -> None:
    taken = 0

    def groups():  # type: ignore[no-untyped-def]
        nonlocal taken
        for group in tiny.tokens(1).split(GROUP, dim=1):
            taken += 1
            yield group

    for step, _ in enumerate(tokenizer.denoise(groups(), tiny.noise(1)), start=1):
        assert taken == step
    assert taken == 4


def test_an_image_depends_on_its_own_seed_only(tokenizer: SequentialDiffusionTokenizer) -> None:
    tokens = tiny.tokens(3)
    together = tokenizer.decode(tokens, seed=5)
    for i in range(3):
        alone = tokenizer.decode(tokens[i : i + 1], seed=5 + i)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(tokenizer.decode(tokens.flip(0), seed=[7, 6, 5]), together.flip(0), rtol=0, atol=1e-5)
    assert not torch.allclose(tokenizer.decode(tokens, seed=6), together, atol=1e-2)


def test_noise_overrides_the_seed(tokenizer: SequentialDiffusionTokenizer) -> None:
    tokens = tiny.tokens(2)
    noise = draw_noise([8, 9], 16)
    assert torch.equal(tokenizer.decode(tokens, seed=1, noise=noise), tokenizer.decode(tokens, seed=8))


@pytest.mark.parametrize(
    ("attempt", "complaint"),
    [
        (lambda model: model.encode(torch.zeros(1, 3, 16, 20)), "images must be B x 3 x 16 x 16, not 1 x 3 x 16 x 20"),
        (lambda model: model.encode(torch.zeros(3, 16, 16)), "images must be .* not 3 x 16 x 16"),
        (lambda model: model.encode(torch.zeros(1, 1, 16, 16)), "images must be .* not 1 x 1 x 16 x 16"),
        (lambda model: model.decode(torch.zeros(1, 7).long()), "tokens must be B x 8.* not 1 x 7"),
        (lambda model: model.decode(torch.zeros(1, 9).long()), "tokens must be B x 8.* not 1 x 9"),
        (lambda model: model.decode(torch.zeros(8).long()), "tokens must be B x 8.* not 8"),
        (lambda model: model.decode(torch.full((1, 8), 32)), "tokens must lie in 0 to 31.* to 32"),
        (lambda model: model.decode(torch.full((1, 8), -1)), "tokens must lie in 0 to 31.* from -1"),
        (lambda model: model.decode(tiny.tokens(1), solver="heun"), "no solver 'heun': choose one of euler"),
        (lambda model: model.decode(tiny.tokens(1), num_tokens=1), "num_tokens must lie between 2 and 8, not 1"),
        (lambda model: model.decode(tiny.tokens(1), num_tokens=0), "num_tokens must lie between 2 and 8, not 0"),
        (lambda model: model.decode(tiny.tokens(1), num_tokens=9), "num_tokens must lie between 2 and 8, not 9"),
        (lambda model: model.decode(tiny.tokens(1)[:, :4], num_tokens=6), "at least 6 wide, not 1 x 4"),
        (lambda model: model.decode(tiny.tokens(1), noise=torch.zeros(1, 3, 8, 8)), "noise must be B x 3 x 16 x 16"),
        (lambda model: model.decode(tiny.tokens(2), noise=tiny.noise(1)), "1 noise images were given .* 2 images"),
        (lambda model: model.decode(tiny.tokens(2).float()), "tokens must be whole numbers, not torch.float32"),
        (lambda model: model.decode(tiny.tokens(2)[:0]), "tokens must be B x 8"),
        (lambda model: model.encode(tiny.pixels(1) / 0), "finite numbers"),
        (lambda model: model.decode(tiny.tokens(2), seed=[1, 2, 3]), "3 seeds were given for 2 images"),
        (lambda model: model.encode(torch.zeros(1, 3, 16, 16).byte()), r"floats in \[-1, 1\], not torch.uint8: divide"),
        (lambda model: model.encode(255 * tiny.pixels(1).abs()), r"must lie in \[-1, 1\]; these reach from .* to 25"),
        (lambda model: model.encode(tiny.pixels(1)[:0]), "there are no images to encode"),
        (lambda model: model.encode([]), "there are no images to encode"),
        (lambda model: model.encode(np.zeros((16, 16, 3))), "an array of float64, 16 x 16 x 3: a picture is uint8"),
        (lambda model: model.encode(np.zeros((3, 16, 16), np.uint8)), "uint8, 3 x 16 x 16: a picture is .* H x W x 3"),
        (lambda model: model.encode([1]), "image of Pillow, a uint8 array H x W x 3, or a file, not int"),
        (lambda model: model.encode("gone.png"), "gone.png does not exist"),
        (lambda model: model.decode(tiny.tokens(1).tolist()), "tensor B x 8 of whole numbers, not a list"),
        (lambda model: model.decode(tiny.tokens(1), steps="4"), "denoising steps must be a whole number, not '4'"),
        (lambda model: model.decode(tiny.tokens(1), num_tokens="4"), "num_tokens must be a whole number, not '4'"),
        (lambda model: model.decode(tiny.tokens(1), solver=None), "there is no solver None"),
        (lambda model: model.decode(tiny.tokens(1), seed="3"), "a seed must be a whole number, not '3'"),
        (lambda model: model.decode(tiny.tokens(1), steps=0), "at least 1 denoising step is needed, not 0"),
        (lambda model: model.decode(tiny.tokens(1), steps=-3), "at least 1 denoising step is needed, not -3"),
    ],
)
def test_input_that_does_not_fit_is_refused_by_name(
    tokenizer: SequentialDiffusionTokenizer,
    attempt: Callable[[SequentialDiffusionTokenizer], Tensor],
    complaint: str,
) -> None:
    with pytest.raises(DARError, match=complaint):
        attempt(tokenizer)


@torch.no_grad()
def test_training_pass_follows_the_flow(tokenizer: SequentialDiffusionTokenizer) -> None:
    pixels, noise, u = tiny.pixels(3), tiny.noise(3), torch.tensor([0.05, 0.4, 0.99])
    output = tokenizer(pixels, u, noise)
    t = (u / (u + 2 * (1 - u))).view(-1, 1, 1, 1)
    x_t = t * 0.6 * pixels + (1 - t) * noise
    assert output.group.tolist() == [0, 2, 3]
    assert torch.equal(output.codes, tokenizer.encode(pixels))
    condition = tokenizer.condition(output.codes).unflatten(1, (4, GROUP))[torch.arange(3), output.group]
    torch.testing.assert_close(output.velocity, tokenizer.velocity(x_t, t.flatten(), condition), rtol=0, atol=1e-4)
    torch.testing.assert_close(output.target_velocity, 0.6 * pixels - noise)
    torch.testing.assert_close(output.predicted_image, (x_t + (1 - t) * output.velocity) / 0.6)
    torch.testing.assert_close(output.latents.norm(dim=-1), torch.ones(3, 8))
    assert torch.equal(output.entries, tokenizer.quantizer.lookup(output.codes))
    assert [h.shape for h in output.hidden] == [(3, 16, 64)]


def test_true_velocity_predicts_the_true_image(tokenizer: SequentialDiffusionTokenizer) -> None:
    pixels, noise, u = tiny.pixels(2), tiny.noise(2), torch.tensor([0.2, 0.7])
    output = tokenizer(pixels, u, noise)
    t = (u / (u + 2 * (1 - u))).view(-1, 1, 1, 1)
    error = (1 - t) * (output.velocity - output.target_velocity) / 0.6
    torch.testing.assert_close(output.predicted_image - error, pixels)


def test_gradients_pass_straight_through_the_quantizer(tokenizer: SequentialDiffusionTokenizer) -> None:
    output = tokenizer(tiny.pixels(2), torch.tensor([0.2, 0.7]), tiny.noise(2))
    into_encoder, into_codebook = torch.autograd.grad(
        output.velocity.sum(), [tokenizer.encoder.out.weight, tokenizer.quantizer.codebook], allow_unused=True
    )
    assert into_encoder.any()
    assert into_codebook is None or not into_codebook.any()


@torch.no_grad()
def test_unquantised_pass_shows_the_features_to_the_decoder(tokenizer: SequentialDiffusionTokenizer) -> None:
    pixels, noise, u = tiny.pixels(2), tiny.noise(2), torch.tensor([0.2, 0.7])
    quantised, free = tokenizer(pixels, u, noise), tokenizer(pixels, u, noise, quantised=False)
    assert torch.equal(quantised.codes, free.codes)
    assert not torch.allclose(quantised.velocity, free.velocity, atol=1e-3)


def test_half_precision_models_work(tokenizer: SequentialDiffusionTokenizer) -> None:
    half = tiny.tokenizer().bfloat16()
    tokens = half.encode(tiny.pixels(2))
    images = half.decode(tokens)
    expected = tokenizer.decode(tokens)
    assert images.dtype == torch.float32  # steps add up in that, whatever the weights are
    assert (images - expected).abs().mean() < 0.1


def test_save_and_load_is_exact(tokenizer: SequentialDiffusionTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = SequentialDiffusionTokenizer.from_pretrained(tmp_path)
    assert torch.equal(loaded.encode(tiny.pixels(2)), tokenizer.encode(tiny.pixels(2)))
    assert torch.equal(loaded.decode(tiny.tokens(2)), tokenizer.decode(tiny.tokens(2)))


def test_published_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = SequentialDiffusionTokenizer(type(tiny.TOKENIZER)())
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert millions == pytest.approx(300, rel=0.02)


PREFIX = dataclasses.replace(tiny.TOKENIZER, decoder_context="prefix")


def test_patches_may_look_at_all_groups_so_far() -> None:
    """Each step's network sees the conditions of its group beside those before it, in order."""
    tokenizer, tokens, seen, lengths = tiny.tokenizer(PREFIX), tiny.tokens(2), [], []
    decoder = tokenizer.diffusion_decoder
    handle = decoder.condition_in.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "velocity", lambda x, t, cache: lengths.append(cache.lengths) or torch.zeros_like(x))
        previews(tokenizer, tokens)
    handle.remove()
    torch.testing.assert_close(torch.cat(seen, dim=1), tokenizer.condition(tokens))
    assert lengths == [[k * GROUP] * 2 for k in range(1, 5)]


@torch.no_grad()
def test_in_training_too_patches_see_the_groups_so_far_and_no_later_ones() -> None:
    tokenizer, pixels, noise = tiny.tokenizer(PREFIX), tiny.pixels(4), tiny.noise(4)
    u = torch.tensor([0.05, 0.3, 0.55, 0.9])  # a clock in each group
    output = tokenizer(pixels, u, noise)
    condition = tokenizer.latent_decoder(output.entries)
    for i in range(4):
        t = shifted_time(u[i : i + 1], PREFIX.time_shift)
        x = t * PREFIX.data_std * pixels[i : i + 1] + (1 - t) * noise[i : i + 1]
        velocity = tokenizer.velocity(x, t, condition[i : i + 1, : (i + 1) * GROUP])
        torch.testing.assert_close(output.velocity[i : i + 1], velocity)


@pytest.mark.parametrize("num_tokens", [2, 4, 6])
def test_with_all_groups_so_far_a_prefix_still_gives_a_preview_to_the_bit(num_tokens: int) -> None:
    tokenizer, tokens = tiny.tokenizer(PREFIX), tiny.tokens(2)
    all_previews = previews(tokenizer, tokens)
    image = tokenizer.decode(tokens, noise=tiny.noise(2), num_tokens=num_tokens)
    assert torch.equal(image, all_previews[num_tokens // GROUP - 1])


@torch.no_grad()
@pytest.mark.parametrize("config", [tiny.TOKENIZER, PREFIX])
@pytest.mark.parametrize("steps", [3, 9])
def test_conditions_kept_from_step_to_step_change_nothing(config: TokenizerConfig, steps: int) -> None:
    tokenizer, tokens, x = tiny.tokenizer(config), tiny.tokens(2), tiny.noise(2)
    conditions = tokenizer.condition(tokens)
    for step in tokenizer.clock.schedule(steps):
        context = tokenizer.context(conditions, step.group)
        x = x + (step.end - step.start) * tokenizer.velocity(x, step.start, context)
    *_, image = previews(tokenizer, tokens, steps=steps, solver="euler")
    torch.testing.assert_close(image, (x / config.data_std).clamp(-1, 1), rtol=0, atol=1e-4)
