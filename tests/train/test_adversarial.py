import pytest
import torch

from dar.train.adversarial import PatchDiscriminator, discriminator_loss, generator_loss
from tests import tiny


@pytest.mark.parametrize("size", [8, 16, 64])
def test_one_logit_for_each_patch(size: int) -> None:
    assert PatchDiscriminator()(tiny.pixels(2, size=size)).shape == (2, 1, size // 8, size // 8)


@pytest.mark.parametrize(("halvings", "patch"), [(1, 12), (2, 26), (3, 54)])
def test_a_logit_sees_its_patch_alone(halvings: int, patch: int) -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(halvings).eval()
    pixels = tiny.pixels(1, size=128).requires_grad_()
    middle = 64 // 2**halvings
    discriminator(pixels)[0, 0, middle, middle].backward()
    assert pixels.grad is not None
    rows = pixels.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert len(rows) == patch
    assert rows[-1] - rows[0] == patch - 1


def test_images_of_a_batch_do_not_meet() -> None:
    discriminator = PatchDiscriminator().eval()
    pixels = tiny.pixels(2, size=32)
    torch.testing.assert_close(discriminator(pixels)[:1], discriminator(pixels[:1]), rtol=0, atol=1e-5)


def test_layers_have_bounded_gain() -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator()
    with torch.no_grad():
        for _ in range(20):  # each pass in training refines the estimate
            discriminator(tiny.pixels(1))
    for layer in discriminator.layers[::2]:
        gain = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item()
        assert gain == pytest.approx(1, abs=0.1)


def test_saved_state_gives_the_same_logits() -> None:
    """A resumed training must go on with the same discriminator."""
    pixels = tiny.pixels(2)
    one, other = PatchDiscriminator(), PatchDiscriminator()
    one(pixels)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(pixels), other(pixels))


def test_discriminator_loss_asks_for_a_margin() -> None:
    def loss(real: float, fake: float) -> float:
        return discriminator_loss(torch.full((2, 1, 3, 3), real), torch.full((2, 1, 3, 3), fake)).item()

    assert loss(1.0, -1.0) == loss(5.0, -7.0) == 0
    assert loss(0.0, 0.0) == 2
    assert loss(-1.0, 1.0) == 4
    assert loss(0.75, -0.5) == pytest.approx(0.25 + 0.5)


def test_generator_loss_is_less_the_mean_logit_of_each_image() -> None:
    logits = torch.tensor([[1.0, 3.0], [-4.0, 0.0]]).view(2, 1, 1, 2)
    assert generator_loss(logits).tolist() == [-2.0, 2.0]


def test_the_generator_learns_from_the_discriminator() -> None:
    torch.manual_seed(0)
    model, discriminator, pixels = tiny.tokenizer(), PatchDiscriminator(), tiny.pixels(2)
    output = model(pixels, torch.tensor([0.2, 0.7]), tiny.noise(2))
    discriminator_loss(discriminator(pixels), discriminator(output.predicted_image.detach())).backward()
    assert all(weight.grad is None for weight in model.parameters())
    assert all(weight.grad.any() for weight in discriminator.parameters() if weight.dim() > 1)
    generator_loss(discriminator(output.predicted_image)).mean().backward()
    assert model.diffusion_decoder.out.weight.grad.any()


def test_the_discriminator_learns_to_tell_images_apart() -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator()
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-3)
    real, fake = tiny.pixels(4, size=16), 0.3 * tiny.noise(4, size=16)
    first = last = 2.0
    for step in range(30):
        loss = discriminator_loss(discriminator(real), discriminator(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert first > 1.5
    assert last < 0.2 * first
