import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dar.cli import main
from dar.data import ImageDataset, MicroBatches
from dar.data.in_memory import DecodedImages, decode_images
from dar.errors import DARError
from dar.features.classifier import load_classifier
from dar.files import read_json
from dar.randomness import step_generator
from dar.storage import load_tensors
from dar.train.classifier import (
    TRAINING,
    ClassifierTask,
    augment,
    classify,
    train_classifier,
)
from dar.train.classifier_recipe import ClassifierRecipe, classifier_recipe_names, load_classifier_recipe
from dar.train.ema import AveragedModel
from dar.train.loop import Outcome
from dar.train.recipe import load_recipe
from dar.train.recipe_files import save_recipe

SHRUNK = (
    "classifier.name=stripes",
    "classifier.image_size=16",
    "classifier.widths=[8, 16]",
    "classifier_training.steps=40",
    "classifier_training.batch_size=16",
    "classifier_training.warmup_steps=4",
    "classifier_training.decay_steps=20",
    "classifier_training.shift=2",
    "classifier_training.ema_decay=0.8",
    "classifier_training.precision=fp32",
)
CLASSES = ("across", "down", "none")


def small_recipe(*overrides: str) -> ClassifierRecipe:
    return load_classifier_recipe("classifier-cifar10", [*SHRUNK, *overrides])


def stripes(root: Path, per_class: int, seed: int) -> Path:
    """Noise, with stripes along either axis or none, of any phase and brightness."""
    rng = np.random.default_rng(seed)
    wave = 60 * np.sin(np.arange(16) * np.pi / 2 + rng.uniform(0, 6, (3, per_class, 1)))
    for pattern, name in zip((wave[0][:, :, None], wave[1][:, None, :], 0 * wave[2][:, None, :]), CLASSES, strict=True):
        (root / name).mkdir(parents=True)
        noise = rng.normal(rng.uniform(80, 170, (per_class, 1, 1, 1)), 40, (per_class, 16, 16, 3))
        for i, pixels in enumerate((noise + pattern[..., None]).clip(0, 255).astype(np.uint8)):
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stripes(tmp_path_factory.mktemp("data"), 24, seed=0)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stripes(tmp_path_factory.mktemp("others"), 20, seed=1)


@pytest.fixture(scope="module")
def run(data: Path, others: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert train_classifier(small_recipe(), data, folder, validation=others) is Outcome.FINISHED
    return folder


def test_it_learns_what_holds_for_other_images(run: Path, others: Path) -> None:
    """Chance gives a third."""
    facts = read_json(run / "model" / TRAINING)
    assert facts["validation_accuracy"] > 0.8
    classifier, held_out = load_classifier(run / "model"), decode_images(ImageDataset(others), 16, 0)
    assert classifier.class_names == CLASSES
    assert classifier.name == "classifier:stripes"
    seen = classify(classifier, held_out.images).argmax(1)
    assert (seen == held_out.labels).double().mean().item() == facts["validation_accuracy"]


def test_a_run_leaves_its_record(run: Path) -> None:
    facts = read_json(run / "model" / TRAINING)
    assert (facts["step"], facts["images"]) == (40, 640)
    assert (facts["training_images"], facts["validation_images"]) == (72, 60)
    assert facts["seconds"] > 0
    assert len(facts["data"]) == 64
    assert facts["hardware"]["cores"] == os.cpu_count()
    assert load_classifier_recipe(run / "model" / "recipe.yaml") == small_recipe()
    with Image.open(run / "samples" / "step-00000040.png") as picture:
        assert picture.width > 8 * 136
        assert picture.height > 3 * 136


def test_training_in_parts_equals_training_at_once(run: Path, data: Path, others: Path, tmp_path: Path) -> None:
    """The rate falls over the last 20 steps, so that the first part may be told to keep it."""
    first = small_recipe("classifier_training.steps=15", "classifier_training.decay_steps=0")
    train_classifier(first, data, tmp_path / "run", validation=others)
    train_classifier(small_recipe(), data, tmp_path / "run", validation=others, resume=True)
    path = Path("model") / "model.safetensors"
    whole, parts = load_tensors(run / path), load_tensors(tmp_path / "run" / path)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("change", ["classifier=", "classifier_training.seed=1", "classifier_training.shift=1"])
def test_resuming_with_other_sizes_or_seed_is_refused(run: Path, data: Path, change: str) -> None:
    override = "classifier.widths=[8, 8]" if change == "classifier=" else change
    before = (run / "recipe.yaml").read_text()
    with pytest.raises(DARError, match=f"another {change.split('=')[0]}"):
        train_classifier(small_recipe(override), data, run, resume=True)
    with pytest.raises(DARError, match="not empty"):
        train_classifier(small_recipe(override), data, run)
    assert (run / "recipe.yaml").read_text() == before


def test_pieces_of_a_batch_are_those_of_the_whole() -> None:
    images = torch.randint(0, 256, (20, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    task = ClassifierTask(small_recipe(), CLASSES, DecodedImages(images, torch.arange(20) % 3), None)
    whole = list(task.batches(3, 5, MicroBatches()))
    pieces = list(task.batches(3, 5, MicroBatches(1, 2, 2)))  # the second process's
    for step in range(2):
        for i, start in enumerate((8, 12)):
            for found, expected in zip(pieces[2 * step + i], whole[step], strict=True):
                assert torch.equal(found, expected[start : start + 4])
    assert not torch.equal(whole[0][0], whole[1][0])


def test_the_loss_is_the_cross_entropy_with_smoothed_labels() -> None:
    task = ClassifierTask(
        small_recipe(), CLASSES, DecodedImages(torch.zeros(1, 3, 16, 16).byte(), torch.tensor([0])), None
    )
    images, labels = torch.randint(0, 256, (8, 3, 16, 16)).byte(), torch.arange(8) % 3
    found = task.losses(task.model.train(), (images, labels), 0, range(8), torch.Generator())["cross_entropy"]
    targets = 0.9 * nn.functional.one_hot(labels, 3) + 0.1 / 3
    expected = -(targets * task.model(images).logits.log_softmax(1)).sum(1).mean() / 2  # half of the batch
    torch.testing.assert_close(found, expected)


def test_augmented_images_are_windows_of_the_image() -> None:
    images = torch.arange(1, 1 + 64 * 3 * 25).view(64, 3, 5, 5)
    found = augment(images, 2, True, torch.Generator().manual_seed(0))
    padded = nn.functional.pad(images, (2, 2, 2, 2))
    windows = (
        padded.unfold(2, 5, 1).unfold(3, 5, 1).permute(0, 2, 3, 1, 4, 5)
    )  # image, top, left, channel, rows, columns
    both = torch.stack([windows, windows.flip(-1)], dim=3)  # image, top, left, mirrored, ...
    image, top, left, mirrored = (both == found[:, None, None, None]).all(-1).all(-1).all(-1).nonzero().T
    assert image.tolist() == list(range(64))
    assert set(top.tolist()) == set(left.tolist()) == set(range(5))
    assert set(mirrored.tolist()) == {0, 1}
    assert torch.equal(augment(images, 0, False, torch.Generator()), images)


def test_augmentation_draws_from_its_generator_only() -> None:
    before = torch.get_rng_state()
    images = torch.randint(0, 256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    one, two = (augment(images, 2, True, step_generator(0, 3, torch.device("cpu"))) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)


def test_statistics_of_batch_normalisation_are_averaged_with_the_weights() -> None:
    model = nn.BatchNorm1d(1).train()
    averaged = AveragedModel(model, decay=0.5)
    model.running_mean.fill_(1.0)
    averaged.update(step=1000)
    assert averaged.model.running_mean.item() == 0.5


def test_broken_images_are_left_out_and_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stripes(tmp_path / "images", 4, seed=2)
    (folder / "down" / "torn.png").write_bytes(b"\x89PNG torn")
    images = decode_images(ImageDataset(folder), 16, 0)
    assert len(images) == 12
    assert (images.images.dtype, images.images.shape) == (torch.uint8, (12, 3, 16, 16))
    assert images.labels.bincount().tolist() == [4, 4, 4]
    said = capsys.readouterr()
    assert (said.out + said.err).count("torn.png") == 1


def test_data_without_a_readable_image_are_refused(tmp_path: Path) -> None:
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "torn.png").write_bytes(b"\x89PNG torn")
    with pytest.raises(DARError, match=r"none of the images of .* can be read"):
        decode_images(ImageDataset(tmp_path), 16, 1)


def test_data_that_do_not_fit_are_refused(data: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    (alone / "only").mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(alone / "only" / "0.png")
    with pytest.raises(DARError, match="fewer than two classes"):
        train_classifier(small_recipe(), alone, tmp_path / "run")
    with pytest.raises(DARError, match="other classes"):
        train_classifier(small_recipe(), data, tmp_path / "run", validation=alone)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("classifier.width=8", "did you mean widths"),
        ("classifier.widths=8", "widths must be a list"),
        ("classifier.name=3", "name must be text"),
        ("classifier_training.label_smoothing=1", "label_smoothing must lie"),
        ("classifier_training.shift=-1", "shift must be at least 0"),
        ("classifier_training.shift=16", "shift 16 must be less"),
        ("classifier_training.steps=0", "steps must be at least 1"),
        ("tokenizer.image_size=16", "no field 'tokenizer'"),
    ],
)
def test_impossible_settings_are_named(override: str, named: str) -> None:
    with pytest.raises(DARError, match=named):
        small_recipe(override)


@pytest.mark.parametrize("name", classifier_recipe_names())
def test_shipped_recipes_are_valid_and_read_back(name: str, tmp_path: Path) -> None:
    recipe = load_classifier_recipe(name)
    assert f"classifier-{recipe.config(CLASSES).name}" == name
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_classifier_recipe(tmp_path / "recipe.yaml") == recipe
    assert dataclasses.asdict(recipe).keys() == {"classifier", "classifier_training"}


def test_only_recipes_of_the_kind_that_is_wanted_are_offered() -> None:
    with pytest.raises(DARError, match=r"no recipe 'debug': give a YAML file or one of (classifier-[\w-]+(, )?)+$"):
        load_classifier_recipe("debug")
    with pytest.raises(DARError, match=r"no recipe 'classifier-cifar10': .* one of (?!.*classifier).*debug"):
        load_recipe("classifier-cifar10")


def test_the_command_trains(data: Path, others: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    arguments = ["--recipe", "classifier-cifar10", "--data", data, "--validation", others, "--out", out, *SHRUNK]
    arguments += [
        "classifier_training.steps=2",
        "classifier_training.warmup_steps=1",
        "classifier_training.decay_steps=0",
    ]
    monkeypatch.setattr("sys.argv", ["dar", "train", "classifier", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    assert load_classifier(out / "model").class_names == CLASSES
