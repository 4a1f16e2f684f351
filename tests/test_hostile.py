"""Hostile files and options by the hundred: each works or ends in one printable sentence, soon, in little memory."""

import contextlib
import io
import json
import random
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from dar.cli import main
from dar.data import ImageDataset
from dar.errors import MAX_SENTENCE, DARError
from dar.features.classifier import ClassifierConfig, ImageClassifier, load_classifier
from dar.generation.provenance import KEYWORD, read_provenance
from dar.images import save_image
from dar.pipeline import DARPipeline, load_prior, load_tokenizer
from dar.report.compare import compare_reports
from dar.report.files import read_report
from dar.report.serialization import to_json
from dar.train.checkpoint import damage, read_state
from dar.train.log_panels import panels
from dar.train.recipe import load_recipe
from dar.train.run_folder import RunFolder
from dar.train.token_shards import TokenShards
from dar.train.tokenization import tokenize_images
from tests.data.making import png, write_tar
from tests.hostile import TEXTS, changed, encoded, spoilt
from tests.report.reports import REPORT
from tests.train.photos import SMALL, photo_folder

SECONDS, BYTES = 15, 2**31
"""What a case may take; the machine may be busy with others."""

UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, pipeline: DARPipeline) -> Path:
    """One good thing of each kind."""
    folder = tmp_path_factory.mktemp("good")
    pipeline.save_pretrained(folder / "model")
    shutil.copy(SMALL, folder / "model" / "recipe.yaml")
    (folder / "model" / "figures.json").write_text('{"codebook_usage": 0.5, "psnr_db_by_groups": [1.0, 2.0]}')
    (folder / "model" / "training.json").write_text('{"tokenizer": {"seconds": 60.0}, "prior": {"seconds": 1}}')
    ImageClassifier(ClassifierConfig(name="x", class_names=("a", "b"), widths=(8, 8))).save_pretrained(folder / "small")
    photo_folder(folder / "photos", per_class=2)
    tokenize_images(pipeline.tokenizer, ImageDataset(folder / "photos"), folder / "shards", views=1, shard_size=3)
    (folder / "report.json").write_text(to_json(REPORT))
    run(["generate", "--model", folder / "model", "--class", "cat", "--out", folder / "pictures", "--no-show"])
    shutil.copy(folder / "pictures" / "0000-cat.png", folder / "picture.png")
    return folder


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Let nothing take more than ``BYTES`` beyond what is in use, where the system can hold it to that."""
    if not sys.platform.startswith("linux"):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    now = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (now + BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def run(arguments: list[Any]) -> None:
    """Run the command line in this process."""
    given, sys.argv = sys.argv, ["dar", *map(str, arguments)]
    try:
        main()
    except SystemExit as end:
        if end.code not in (None, 0, 2):
            raise RuntimeError(f"it ended with exit code {end.code}") from end
    finally:
        sys.argv = given


def change_json(path: Path, chance: random.Random) -> None:
    path.write_bytes(encoded(changed(json.loads(path.read_bytes()), chance), chance))


def change_header(path: Path, chance: random.Random) -> None:
    """Change the JSON at the start of a safetensors file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = encoded(changed(json.loads(content[8 : 8 + length]), chance), chance)
    told = len(header) if chance.random() < 0.8 else chance.choice((0, 2**31, 2**63, length))
    path.write_bytes(told.to_bytes(8, "little") + header + content[8 + length :])


def configurations(base: Path, folder: Path, chance: random.Random) -> None:
    part = chance.choice(("tokenizer", "prior"))
    shutil.copytree(base / "model", folder / "model")
    change_json(folder / "model" / part / "config.json", chance)
    DARPipeline.from_pretrained(folder / "model")


def weights(base: Path, folder: Path, chance: random.Random) -> None:
    part, load = chance.choice((("tokenizer", load_tokenizer), ("prior", load_prior)))
    shutil.copytree(base / "model", folder / "model")
    path = folder / "model" / part / "model.safetensors"
    if chance.random() < 0.7:
        change_header(path, chance)
    else:
        path.write_bytes(spoilt(path.read_bytes(), chance))
    load(folder / "model")


def classifiers(base: Path, folder: Path, chance: random.Random) -> None:
    shutil.copytree(base / "small", folder / "small")
    change_json(folder / "small" / "config.json", chance)
    load_classifier(folder / "small")


def settings(base: Path, folder: Path, chance: random.Random) -> None:
    shutil.copytree(base / "model", folder / "model")
    change_json(folder / "model" / "sampling.json", chance)
    pipe = DARPipeline.from_pretrained(folder / "model")
    pipe.check("cat")


def facts_of_a_model(base: Path, folder: Path, chance: random.Random) -> None:
    shutil.copytree(base / "model", folder / "model")
    change_json(folder / "model" / chance.choice(("figures.json", "training.json")), chance)
    if chance.random() < 0.3:
        path = folder / "model" / "recipe.yaml"
        path.write_bytes(spoilt(path.read_bytes(), chance))
    run(["info", folder / "model", *(["--all"] if chance.random() < 0.5 else [])])


def recipes(base: Path, folder: Path, chance: random.Random) -> None:
    path = folder / "recipe.yaml"
    content = yaml.safe_load(SMALL.read_bytes())
    text = encoded(changed(content, chance), chance)  # JSON is YAML
    path.write_bytes(text if chance.random() < 0.7 else spoilt(SMALL.read_bytes(), chance))
    overrides = [f"tokenizer_training.steps={chance.choice(TEXTS)}"] if chance.random() < 0.3 else []
    load_recipe(path, overrides)


def logs(base: Path, folder: Path, chance: random.Random) -> None:
    lines = [{"step": 1, "images": 2, "loss": 0.5, "psnr": 3.0}, {"step": 2, "images": 4, "loss": float("nan")}]
    log = RunFolder(folder)
    log.log.write_bytes(b"\n".join(encoded(changed(line, chance), chance) for line in lines * 3))
    panels(log.read_log())
    log.rewind_log(1)


def checkpoints(base: Path, folder: Path, chance: random.Random) -> None:
    (folder / "state.json").write_bytes(encoded(changed({"step": 1, "seconds": 2.0, "log": {}}, chance), chance))
    manifest = {"state.json": {"bytes": 1, "sha256": "0"}, "model.safetensors": {}}
    (folder / "manifest.json").write_bytes(encoded(changed(manifest, chance), chance))
    assert damage(folder)
    read_state(folder)


def pictures(base: Path, folder: Path, chance: random.Random) -> None:
    with Image.open(base / "picture.png") as image:
        record = json.loads(image.text[KEYWORD])
    path = folder / "picture.png"
    text = encoded(changed(record, chance), chance).decode("utf-8", errors="replace").replace("\x00", "?")
    save_image(Image.new("RGB", (4, 4)), path, {KEYWORD: text})
    if chance.random() < 0.2:
        path.write_bytes(spoilt(path.read_bytes(), chance))
    read_provenance(path).lines()
    run(["info", path])
    run(["generate", "--like", path, "--model", base / "model", "--out", folder / "again", "--no-show"])


def captions(base: Path, folder: Path, chance: random.Random) -> None:
    photos = photo_folder(folder / "photos", per_class=1)
    rows = [{"file_name": "bright/0.png", "text": "a"}, {"file_name": "dark/0.png", "caption": "b"}]
    (photos / "metadata.jsonl").write_bytes(b"\n".join(encoded(changed(row, chance), chance) for row in rows))
    ImageDataset(photos).summary.sentence()
    run(["data", photos])


def names_of_classes(base: Path, folder: Path, chance: random.Random) -> None:
    write_tar(folder / "a.tar", range(3))
    (folder / "classes.json").write_bytes(encoded(changed(["ape", "bee", "cow"], chance), chance))
    run(["data", folder])


def names_of_files(base: Path, folder: Path, chance: random.Random) -> None:
    for text in chance.sample(TEXTS, 5):
        with contextlib.suppress(OSError, ValueError):
            (folder / f"x{text}").mkdir()
            (folder / f"x{text}" / f"{chance.choice(TEXTS)}.png").write_bytes(png(0))
            (folder / f"x{text}" / "b.png").write_bytes(png(1) if chance.random() < 0.5 else b"no picture")
    run(["data", folder, "--out", folder.with_name("sheet"), "--overwrite"])


def labels_in_tars(base: Path, folder: Path, chance: random.Random) -> None:
    path = write_tar(folder / "a.tar", range(2))
    label = chance.choice(TEXTS).encode("utf-8", errors="surrogatepass")
    content = path.read_bytes().replace(b"1".ljust(512, b"\x00"), label[:512].ljust(512, b"\x00"))
    path.write_bytes(content if chance.random() < 0.7 else spoilt(content, chance))
    run(["data", path])


def tokens(base: Path, folder: Path, chance: random.Random) -> None:
    shutil.copytree(base / "shards", folder / "shards")
    if chance.random() < 0.5:
        change_json(folder / "shards" / "manifest.json", chance)
    else:
        change_header(chance.choice(sorted((folder / "shards").glob("*.safetensors"))), chance)
    shards = TokenShards(folder / "shards")
    shards.rows(torch.tensor([0]), torch.tensor([0]))


def reports(base: Path, folder: Path, chance: random.Random) -> None:
    shutil.copy(base / "report.json", folder / "report.json")
    change_json(folder / "report.json", chance)
    report = read_report(folder / "report.json")
    compare_reports([report, REPORT], ["a", "b"]).text()


OPTIONS = {
    "generate": (
        *("--class", "--num", "--seed", "--guidance", "--temperature", "--top-k", "--top-p", "--steps", "--solver"),
        *("--sampler", "--layout", "--layout-tokens", "--batch-size", "--device", "--dtype", "--like", "--animate"),
    ),
    "sample": ("--num", "--seed", "--labels", "--class", "--rounding", "--png", "--top-k", "--steps"),
    "tokenize": ("--batch-size", "--shard-size", "--max-broken-share", "--image-column", "--label-column", "--data"),
    "reconstruct": ("--seed", "--device", "--dtype", "--model"),
    "train tokenizer": ("--recipe", "--set", "--data", "--on", "--init"),
}
NEEDED: dict[str, tuple[str, ...]] = {
    "generate": ("--class", "cat", "--no-show"),
    "sample": ("--num", "2"),
    "tokenize": ("--data", "photos"),
    "reconstruct": ("picture.png",),
    "train tokenizer": ("--recipe", "debug", "--data", "photos", "--dry-run"),
}


def options(base: Path, folder: Path, chance: random.Random) -> None:
    command = chance.choice(list(OPTIONS))
    given = [base / word if (base / word).exists() else word for word in NEEDED[command]]
    odd = [
        word for name in chance.sample(OPTIONS[command], chance.randint(1, 2)) for word in (name, chance.choice(TEXTS))
    ]
    model = [] if command.startswith("train") else ["--model", base / "model"]
    with contextlib.chdir(folder):  # relative names that happen to be possible
        run([*command.split(), *model, *given, *odd, "--out", folder / ("x.npz" if command == "sample" else "out")])


KINDS: list[Callable[[Path, Path, random.Random], None]] = [
    *(configurations, weights, classifiers, settings, facts_of_a_model, recipes, logs, checkpoints, pictures, captions),
    *(names_of_classes, names_of_files, labels_in_tars, tokens, reports, options),
]


def try_cases(kind: Callable[..., None], base: Path, tmp_path: Path, cases: range) -> None:
    for case in cases:
        folder = tmp_path / "case"
        folder.mkdir()
        start = time.monotonic()
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                kind(base, folder, random.Random(f"{kind.__name__} {case}"))
        except DARError as error:
            said.write(str(error).replace("\n", "\x00"))  # a line break is no better
        except BaseException as error:
            error.add_note(f"case {case} of {kind.__name__}")
            raise
        text = said.getvalue()
        assert not UNPRINTABLE.search(text.replace("\r", "")), (case, text)
        assert max(map(len, text.splitlines()), default=0) <= len("error: ") + MAX_SENTENCE, (case, text)
        assert time.monotonic() - start < SECONDS, case
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_hundreds_of_hostile_inputs(kind: Callable[..., None], base: Path, tmp_path: Path) -> None:
    try_cases(kind, base, tmp_path, range(20))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_thousands_of_hostile_inputs(kind: Callable[..., None], base: Path, tmp_path: Path) -> None:
    try_cases(kind, base, tmp_path, range(20, 270))
