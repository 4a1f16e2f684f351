"""Losses through other networks, in a training."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model

from dar.data import ImageDataset, MicroBatches
from dar.errors import DARError
from dar.features.classifier import ClassifierConfig, ImageClassifier
from dar.features.perceptual import LINEAR, VGG
from dar.flow import shifted_time
from dar.storage import load_tensors
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.distributed import Distributed
from dar.train.frozen_losses import moved
from dar.train.loop import Outcome
from dar.train.optimizer import make_optimizer
from dar.train.recipe import Recipe
from dar.train.run_folder import RunFolder
from dar.train.tokenizer import TokenizerTask, train_tokenizer
from tests import tiny
from tests.train.photos import small_recipe

CHANNELS = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
CONVOLUTIONS = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A recipe with every loss there is, and random weights for the networks that they need."""
    dino = tmp_path_factory.mktemp("dino")
    config = Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, patch_size=14, image_size=28)
    tiny.randomise(Dinov2Model(config), seed=0).save_pretrained(dino)
    lpips = tmp_path_factory.mktemp("lpips")
    torch.manual_seed(0)
    vgg = {}
    for i, number in enumerate(CONVOLUTIONS):
        vgg[f"features.{number}.weight"] = (
            torch.randn(CHANNELS[i + 1], CHANNELS[i], 3, 3) * (2 / 9 / CHANNELS[i]) ** 0.5
        )
        vgg[f"features.{number}.bias"] = torch.zeros(CHANNELS[i + 1])
    linear = {f"lin{i}.model.1.weight": torch.rand(1, n, 1, 1) for i, n in enumerate((64, 128, 256, 512, 512))}
    save_file(vgg, lpips / Path(VGG.name).with_suffix(".safetensors"))
    save_file(linear, lpips / Path(LINEAR.name).with_suffix(".safetensors"))
    return small_recipe(
        "tokenizer_training.perceptual_weight=0.5",
        f"tokenizer_training.perceptual_weights={lpips}",
        "tokenizer_training.alignment_weight=0.5",
        "tokenizer_training.alignment_layer=1",
        f"tokenizer_training.alignment_model={dino}",
        "tokenizer_training.adversarial_weight=0.1",
        "tokenizer_training.adversarial_start=6",
    )


def test_all_losses_are_trained_and_logged_and_the_model_is_a_plain_tokenizer(
    photos: Path, guided: Recipe, tmp_path: Path
) -> None:
    assert train_tokenizer(guided, photos, tmp_path / "run") is Outcome.FINISHED
    run = RunFolder(tmp_path / "run")
    entry = [entry for entry in run.read_log() if "loss" in entry][-1]
    assert {"loss_perceptual", "loss_alignment", "loss_adversarial", "loss_flow"} <= entry.keys()
    tokenizer = SequentialDiffusionTokenizer.from_pretrained(run.model)
    assert not [name for name in tokenizer.state_dict() if "head" in name]
    kept = load_tensors(run.checkpoints()[-1] / "task.safetensors")
    assert kept["discriminator/layers.0.bias/step"] == 6


def test_the_discriminator_too_goes_on_as_if_it_had_never_stopped(photos: Path, guided: Recipe, tmp_path: Path) -> None:
    def steps(count: int) -> Recipe:
        only = {"perceptual_weight": 0.0, "alignment_weight": 0.0}
        training = dataclasses.replace(guided.tokenizer_training, steps=count, decay_steps=0, **only)
        return dataclasses.replace(guided, tokenizer_training=training)

    train_tokenizer(steps(12), photos, tmp_path / "once")
    train_tokenizer(steps(9), photos, tmp_path / "parts")
    train_tokenizer(steps(12), photos, tmp_path / "parts", resume=True)
    for name in ("model", "task", "optimizer"):
        once, parts = (
            load_tensors(RunFolder(tmp_path / run).checkpoints()[-1] / f"{name}.safetensors")
            for run in ("once", "parts")
        )
        assert all(torch.equal(once[key], parts[key]) for key in once), name


def test_the_tokenizer_s_loss_gives_the_discriminator_no_gradient(photos: Path, guided: Recipe) -> None:
    task = TokenizerTask(guided, ImageDataset(photos), ImageDataset(photos), Distributed())
    piece = next(task.batches(0, 1, MicroBatches()))
    losses = task.losses(task.model, piece, 6, range(4), torch.Generator().manual_seed(0))
    assert task.adversarial is not None
    own = [parameter.grad.clone() for parameter in task.adversarial.discriminator.parameters()]
    losses["adversarial"].backward()
    assert all(
        torch.equal(parameter.grad, before)
        for parameter, before in zip(task.adversarial.discriminator.parameters(), own, strict=True)
    )
    assert task.tokenizer.diffusion_decoder.out.weight.grad.abs().max() > 0


def test_pieces_add_up_to_the_batch(photos: Path, guided: Recipe) -> None:
    gradients = []
    for pieces in (1, 2):
        task = TokenizerTask(guided, ImageDataset(photos), ImageDataset(photos), Distributed())
        make_optimizer(task.model, task.settings)
        share = MicroBatches(0, 1, pieces)
        for piece, rows in zip(task.batches(5, 6, share), share.positions(4, 0), strict=True):
            generator = torch.Generator().manual_seed(0)
            torch.stack(list(task.losses(task.model, piece, 5, rows, generator).values())).sum().backward()
        gradients.append({name: parameter.grad for name, parameter in task.model.named_parameters()})
    whole, added = gradients
    for name in whole:
        torch.testing.assert_close(added[name], whole[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ("perceptual_weight=0.5", "perceptual_weights=none"),
        ("alignment_weight=0.5", "alignment_model=none"),
    ],
)
def test_a_loss_without_its_weights_fails_at_the_start(photos: Path, tmp_path: Path, wanted: str, named: str) -> None:
    settings = [f"tokenizer_training.{setting}" for setting in (wanted, named, "alignment_layer=1")]
    with pytest.raises(DARError, match="none"):
        train_tokenizer(small_recipe(*settings), photos, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_classifier_serves_as_perceptual_network_alone_or_with_others(photos: Path, tmp_path: Path) -> None:
    config = ClassifierConfig(name="own", class_names=("a", "b"), image_size=32, widths=(8,), architecture="pooled")
    tiny.randomise(ImageClassifier(config), seed=1).save_pretrained(tmp_path / "own")
    found = {}
    for names in ("classifier:cifar10", str(tmp_path / "own"), f"[classifier:cifar10, {tmp_path / 'own'}]"):
        recipe = small_recipe(
            "tokenizer.image_size=32",
            "tokenizer_training.perceptual_weight=1",
            f"tokenizer_training.perceptual_network={names}",
        )
        task = TokenizerTask(recipe, ImageDataset(photos), ImageDataset(photos), Distributed())
        piece = next(task.batches(0, 1, MicroBatches()))
        losses = task.losses(task.model, piece, 0, range(4), torch.Generator().manual_seed(0))
        found[names] = losses["perceptual"].item()
    one, other, both = found.values()
    assert one != other
    assert both == pytest.approx((one + other) / 2, rel=1e-5)


def test_a_network_for_images_of_another_size_is_refused(photos: Path) -> None:
    recipe = small_recipe(
        "tokenizer_training.perceptual_weight=1", "tokenizer_training.perceptual_network=classifier:cifar10"
    )
    with pytest.raises(DARError, match="32 x 32 pixels"):
        TokenizerTask(recipe, ImageDataset(photos), ImageDataset(photos), Distributed())


def test_time_weighs_the_perceptual_loss(photos: Path) -> None:
    """All clocks at one time, the loss is that time's part of the unweighted one."""
    losses = []
    for timed in ("false", "true"):
        recipe = small_recipe(
            "tokenizer.image_size=32",
            "tokenizer_training.perceptual_weight=1",
            "tokenizer_training.perceptual_network=classifier:cifar10",
            f"tokenizer_training.perceptual_timed={timed}",
        )
        task = TokenizerTask(recipe, ImageDataset(photos), ImageDataset(photos), Distributed())
        pixels = next(task.batches(0, 1, MicroBatches())).pixels
        u = torch.full((4,), 0.5)
        output = task.tokenizer(pixels, u, torch.zeros_like(pixels))
        losses.append(task.frozen_losses.losses(output, pixels, torch.zeros(4, 2).long())["perceptual"].item())
    time = shifted_time(0.5, recipe.tokenizer.time_shift)
    assert losses[1] == pytest.approx(time * losses[0], rel=1e-5)


def test_images_are_moved_by_limit_less_offset_with_mirrored_borders() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    same = moved(image, torch.tensor([[1, 1]]), limit=1)
    assert torch.equal(same, image)
    down = moved(image, torch.tensor([[0, 1]]), limit=1)  # what comes in on top is the mirrored second row
    assert torch.equal(down[0, 0], torch.cat([image[0, 0, 1:2], image[0, 0, :3]]))
    left = moved(image, torch.tensor([[1, 2]]), limit=1)
    assert torch.equal(left[0, 0], torch.cat([image[0, 0, :, 1:], image[0, 0, :, 2:3]], dim=1))
