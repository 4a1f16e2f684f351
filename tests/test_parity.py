"""Agreement with the reference implementation, where its tensors are at hand."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dar.prior import Prior, PriorConfig
from dar.tokenizer import SequentialDiffusionTokenizer, TokenizerConfig
from dar.train.losses import COMMITMENT_WEIGHT, codebook_loss, commitment_loss, flow_loss
from tests.parity import REFERENCE, load_published, prior_weights, tokenizer_weights
from tests.tiny import relative_error

pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference tensors are not here")

TOLERANCE = 1e-5
Reference = dict[str, Tensor]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return load_file(REFERENCE / "tokenizer_io.safetensors")


@pytest.fixture(scope="module")
def published_tokenizer() -> SequentialDiffusionTokenizer:
    config = TokenizerConfig(
        image_size=64,
        encoder_width=128,
        encoder_depth=2,
        num_tokens=32,
        num_groups=4,
        codebook_size=256,
        latent_decoder_depth=1,
        decoder_width=128,
        decoder_depth=2,
        num_steps=4,
    )
    model = SequentialDiffusionTokenizer(config)
    model.load_state_dict(tokenizer_weights(load_published("tokenizer.pt")["ema"], config.num_tokens))
    return model.eval()


def test_codes(published_tokenizer: SequentialDiffusionTokenizer, reference: Reference) -> None:
    assert torch.equal(published_tokenizer.encode(reference["image"]), reference["codes"])


@torch.no_grad()
def test_condition(published_tokenizer: SequentialDiffusionTokenizer, reference: Reference) -> None:
    assert relative_error(published_tokenizer.condition(reference["codes"]), reference["condition"]) < TOLERANCE


@torch.no_grad()
def test_velocity(published_tokenizer: SequentialDiffusionTokenizer, reference: Reference) -> None:
    condition = reference["condition"][:, 8:16]
    velocity = published_tokenizer.velocity(reference["image"], reference["velocity_t"], condition)
    assert relative_error(velocity, reference["velocity"]) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "num_tokens", "steps"),
    [
        ("decoded_1", 8, 4),
        ("decoded_2", 16, 4),
        ("decoded_3", 24, 4),
        ("decoded_all", 32, 4),
        ("decoded_12_steps", 32, 12),
    ],
)
def test_decoded(
    published_tokenizer: SequentialDiffusionTokenizer, reference: Reference, name: str, num_tokens: int, steps: int
) -> None:
    decoded = published_tokenizer.decode(
        reference["codes"], noise=reference["noise"], num_tokens=num_tokens, steps=steps
    )
    assert relative_error(decoded, reference[name].clamp(-1, 1)) < TOLERANCE


@torch.no_grad()
def test_losses(published_tokenizer: SequentialDiffusionTokenizer, reference: Reference) -> None:
    config = published_tokenizer.config
    output = published_tokenizer(reference["image"], reference["loss_u"], reference["loss_noise"])
    assert relative_error(output.predicted_image, reference["loss_predicted_image"]) < TOLERANCE
    assert relative_error(flow_loss(output, config.data_std), reference["loss_flow_matching"]) < TOLERANCE
    assert relative_error(codebook_loss(output, config.tokens_per_group), reference["loss_vq"]) < TOLERANCE
    commitment = COMMITMENT_WEIGHT * commitment_loss(output, config.tokens_per_group)
    assert relative_error(commitment, reference["loss_commit"]) < TOLERANCE


@torch.no_grad()
def test_prior_logits() -> None:
    config = PriorConfig(
        class_names=tuple(f"class {i}" for i in range(10)),
        codebook_size=256,
        num_tokens=32,
        width=128,
        depth=3,
        num_heads=4,
        mlp_width=512,
    )
    prior = Prior(config)
    prior.load_state_dict(prior_weights(load_published("prior.pt")["model"], config))
    reference = load_file(REFERENCE / "prior_io.safetensors")
    logits = prior.eval()(reference["labels"], reference["tokens"])
    assert (reference["labels"] == config.null_class).any()
    assert relative_error(logits, reference["logits"]) < TOLERANCE
