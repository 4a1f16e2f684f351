"""Agreement with the reference implementation, where its tensors are at hand."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dar.convert.published import convert
from dar.pipeline import DARPipeline
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.losses import COMMITMENT_WEIGHT, codebook_loss, commitment_loss, flow_loss
from tests.tiny import relative_error

REFERENCE = Path(__file__).parents[2] / "shared" / "parity"
"""Small random-weight checkpoints with inputs and outputs of the reference implementation; not part of the package."""

pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference tensors are not here")

TOLERANCE = 1e-5
Reference = dict[str, Tensor]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return load_file(REFERENCE / "tokenizer_io.safetensors")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> DARPipeline:
    model = tmp_path_factory.mktemp("parity") / "model"
    convert(model, REFERENCE / "tokenizer.pt", REFERENCE / "prior.pt")
    return DARPipeline.from_pretrained(model)


@pytest.fixture(scope="module")
def tokenizer(pipeline: DARPipeline) -> SequentialDiffusionTokenizer:
    return pipeline.tokenizer


def test_codes(tokenizer: SequentialDiffusionTokenizer, reference: Reference) -> None:
    assert torch.equal(tokenizer.encode(reference["image"]), reference["codes"])


@torch.no_grad()
def test_condition(tokenizer: SequentialDiffusionTokenizer, reference: Reference) -> None:
    assert relative_error(tokenizer.condition(reference["codes"]), reference["condition"]) < TOLERANCE


@torch.no_grad()
def test_velocity(tokenizer: SequentialDiffusionTokenizer, reference: Reference) -> None:
    condition = reference["condition"][:, 8:16]
    velocity = tokenizer.velocity(reference["image"], reference["velocity_t"], condition)
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
    tokenizer: SequentialDiffusionTokenizer, reference: Reference, name: str, num_tokens: int, steps: int
) -> None:
    decoded = tokenizer.decode(reference["codes"], noise=reference["noise"], num_tokens=num_tokens, steps=steps)
    assert relative_error(decoded, reference[name].clamp(-1, 1)) < TOLERANCE


@torch.no_grad()
def test_losses(tokenizer: SequentialDiffusionTokenizer, reference: Reference) -> None:
    config = tokenizer.config
    output = tokenizer(reference["image"], reference["loss_u"], reference["loss_noise"])
    assert relative_error(output.predicted_image, reference["loss_predicted_image"]) < TOLERANCE
    assert relative_error(flow_loss(output, config.data_std), reference["loss_flow_matching"]) < TOLERANCE
    assert relative_error(codebook_loss(output, config.tokens_per_group), reference["loss_vq"]) < TOLERANCE
    commitment = COMMITMENT_WEIGHT * commitment_loss(output, config.tokens_per_group)
    assert relative_error(commitment, reference["loss_commit"]) < TOLERANCE


@torch.no_grad()
def test_prior_logits(pipeline: DARPipeline) -> None:
    reference = load_file(REFERENCE / "prior_io.safetensors")
    logits = pipeline.prior(reference["labels"], reference["tokens"])
    assert (reference["labels"] == pipeline.prior.config.null_class).any()
    assert relative_error(logits, reference["logits"]) < TOLERANCE
