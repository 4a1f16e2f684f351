import dataclasses

import pytest
import torch

from dar.tokenizer.output import TokenizerOutput
from dar.train.losses import (
    codebook_loss,
    codebook_loss_per_image,
    commitment_loss,
    commitment_loss_per_image,
    flow_loss,
    flow_loss_per_image,
    pixel_loss,
    pixel_loss_per_image,
    tokenizer_losses,
    used_tokens,
)
from tests import tiny

GROUP = tiny.TOKENIZER.tokens_per_group


@pytest.fixture
def output() -> TokenizerOutput:
    """Two images, whose clocks chose groups 0 and 2 of 4; latents and entries want gradients."""
    generator = torch.Generator().manual_seed(0)
    return TokenizerOutput(
        codes=tiny.tokens(2),
        latents=torch.randn(2, 8, 4, generator=generator).requires_grad_(),
        entries=torch.randn(2, 8, 4, generator=generator).requires_grad_(),
        group=torch.tensor([0, 2]),
        time=torch.tensor([0.1, 0.6]),
        on_path=torch.tensor([True, True]),
        velocity=tiny.noise(2, seed=1).requires_grad_(),
        target_velocity=tiny.noise(2, seed=2),
        predicted_image=tiny.noise(2, seed=3),
        hidden=(),
    )


def test_flow_loss_counts_in_variances_of_the_scaled_image(output: TokenizerOutput) -> None:
    shifted = dataclasses.replace(output, velocity=output.target_velocity + 0.3)
    assert flow_loss(shifted, 0.6).item() == pytest.approx(0.25)
    assert flow_loss(dataclasses.replace(output, velocity=output.target_velocity), 0.6) == 0


def test_flow_loss_leaves_out_what_is_not_on_the_path(output: TokenizerOutput) -> None:
    off = torch.tensor([0.3, 5.0])[:, None, None, None]
    shifted = dataclasses.replace(output, velocity=output.target_velocity + off, on_path=torch.tensor([True, False]))
    assert flow_loss(shifted, 0.6).item() == pytest.approx(0.25)
    assert flow_loss(dataclasses.replace(shifted, on_path=torch.tensor([False, False])), 0.6) == 0


def test_codebook_loss_is_the_mean_distance_of_used_tokens(output: TokenizerOutput) -> None:
    squares = (output.latents - output.entries).square().mean(-1)
    used = torch.cat([squares[0, :GROUP], squares[1, : 3 * GROUP]])
    torch.testing.assert_close(codebook_loss(output, GROUP), used.mean())
    torch.testing.assert_close(commitment_loss(output, GROUP), used.mean())


def test_with_the_last_group_all_tokens_are_used(output: TokenizerOutput) -> None:
    everything = dataclasses.replace(output, group=torch.tensor([3, 3]))
    torch.testing.assert_close(codebook_loss(everything, GROUP), (output.latents - output.entries).square().mean())


@pytest.mark.parametrize(
    ("of_batch", "per_image", "argument", "by_tokens"),
    [
        (flow_loss, flow_loss_per_image, 0.6, False),
        (pixel_loss, pixel_loss_per_image, tiny.pixels(2), False),
        (codebook_loss, codebook_loss_per_image, GROUP, True),
        (commitment_loss, commitment_loss_per_image, GROUP, True),
    ],
)
def test_each_image_alone_has_its_own_loss(output, of_batch, per_image, argument, by_tokens: bool) -> None:  # type: ignore[no-untyped-def]
    values = per_image(output, argument)
    for i in range(2):
        alone = dataclasses.replace(
            output,
            **{
                name: getattr(output, name)[i : i + 1]
                for name in ("latents", "entries", "group", "velocity", "target_velocity", "predicted_image")
            },
        )
        its = argument[i : i + 1] if isinstance(argument, torch.Tensor) else argument
        torch.testing.assert_close(of_batch(alone, its), values[i])
    weights = used_tokens(output, GROUP) if by_tokens else torch.ones(2)
    torch.testing.assert_close(of_batch(output, argument), (weights * values).sum() / weights.sum())


def test_tokens_count_up_to_the_end_of_the_group(output: TokenizerOutput) -> None:
    assert used_tokens(output, GROUP).tolist() == [2, 6]


@pytest.mark.parametrize(
    ("loss", "moved", "still"),
    [
        (codebook_loss, "entries", "latents"),
        (commitment_loss, "latents", "entries"),
    ],
)
def test_one_side_moves_and_only_where_tokens_are_used(output, loss, moved: str, still: str) -> None:  # type: ignore[no-untyped-def]
    loss(output, GROUP).backward()
    gradient = getattr(output, moved).grad
    assert gradient[0, :GROUP].all()
    assert gradient[1, : 3 * GROUP].all()
    assert not gradient[0, GROUP:].any()
    assert not gradient[1, 3 * GROUP :].any()
    assert getattr(output, still).grad is None


def test_commitment_weighs_a_quarter(output: TokenizerOutput) -> None:
    losses = tokenizer_losses(output, tiny.pixels(2), tiny.TOKENIZER)
    assert losses.keys() == {"flow", "codebook", "commitment"}
    torch.testing.assert_close(losses["flow"], flow_loss(output, 0.6))
    torch.testing.assert_close(losses["codebook"], codebook_loss(output, GROUP))
    torch.testing.assert_close(losses["commitment"], 0.25 * codebook_loss(output, GROUP))


def test_pixel_loss_joins_only_where_it_is_weighed(output: TokenizerOutput) -> None:
    pixels = output.predicted_image - 0.5
    assert pixel_loss(output, pixels).item() == pytest.approx(0.25)
    without = tokenizer_losses(output, pixels, tiny.TOKENIZER)
    losses = tokenizer_losses(output, pixels, tiny.TOKENIZER, pixel_weight=0.1)
    assert losses.pop("pixel").item() == pytest.approx(0.025)
    assert losses == without


def test_pixel_loss_of_a_real_model_is_its_flow_loss_weighed_by_what_is_left_to_go() -> None:
    model, pixels, u = tiny.tokenizer(), tiny.pixels(1), torch.tensor([0.5])
    output = model(pixels, u, tiny.noise(1))
    torch.testing.assert_close(pixel_loss(output, pixels), (1 - 1 / 3) ** 2 * flow_loss(output, model.config.data_std))


def test_later_tokens_of_a_real_model_get_no_gradient() -> None:
    model = tiny.tokenizer()
    pixels = tiny.pixels(2)
    output = model(pixels, torch.tensor([0.0, 0.5]), tiny.noise(2))
    assert output.group.tolist() == [0, 2]
    total = sum(tokenizer_losses(output, pixels, model.config, pixel_weight=1.0).values())
    (gradient,) = torch.autograd.grad(total, output.latents)
    used = gradient.abs().sum(-1) > 0
    assert used.tolist() == [[True] * 2 + [False] * 6, [True] * 6 + [False] * 2]
