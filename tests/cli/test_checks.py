"""A slip in a name or a path is answered before anything heavy is imported."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import dar

HEAVY = ("torch", "transformers", "datasets", "pyarrow", "matplotlib", "accelerate")
PROGRAM = f"""
import sys
from dar.cli import main
try:
    main()
finally:
    print(*(name for name in {HEAVY} if name in sys.modules))
"""
TRAIN = ["--out", "out", "--data"]
REPORT = ["--reference", "cifar10", "--extractor", "cifar10", "--out", "out"]
SLIPS = {
    "recipe of a tokenizer": (["train", "tokenizer", "--recipe", "nope", *TRAIN, "photos"], "no recipe 'nope'"),
    "recipe of a prior": (["train", "prior", "--recipe", "x.yaml", *TRAIN, "photos", "--tokenizer", "."], "'x.yaml'"),
    "recipe of a classifier": (["train", "classifier", "--recipe", "debug", *TRAIN, "photos"], "no recipe 'debug'"),
    "field": (["train", "tokenizer", "--recipe", "debug", *TRAIN, "photos", "data.corp=centre"], "did you mean crop"),
    "field of a classifier": (
        ["train", "classifier", "--recipe", "classifier-cifar10", *TRAIN, "photos", "classifier_training.step=1"],
        "did you mean steps",
    ),
    "data": (["train", "tokenizer", "--recipe", "debug", *TRAIN, "./nope"], "no data set at ./nope"),
    "name of data": (["train", "tokenizer", "--recipe", "debug", *TRAIN, "fotos!"], "no data set fotos!"),
    "name of data, without the Hub": (["tokenize", "--data", "fotos", "--out", "out"], "no data set fotos here"),
    "name of an extractor, without the Hub": (
        ["evaluate", "samples", "s.npz", *REPORT, "--extractor", "incepton"],
        "no extractor incepton here",
    ),
    "validation": (["train", "tokenizer", "--recipe", "debug", *TRAIN, "photos", "--validation", "n/"], "set at n/"),
    "tokenizer": (
        ["train", "prior", "--recipe", "debug", *TRAIN, "photos", "--tokenizer", "./nope"],
        "no model at ./nope",
    ),
    "data of a prior": (["train", "prior", "--recipe", "debug", *TRAIN, "./nope", "--tokenizer", "t/"], "at ./nope"),
    "run": (["train", "tokenizer", "--recipe", "debug", *TRAIN, "photos", "--resume"], "holds no run to resume"),
    "tracker": (["train", "tokenizer", "--recipe", "debug", *TRAIN, "photos", "--tracker", "mlflow"], "no tracker"),
    "hardware": (
        ["train", "tokenizer", "--recipe", "debug", *TRAIN, "photos", "--dry-run", "--on", "h10"],
        "did you mean h100",
    ),
    "model": (["generate", "--class", "ship", "--model", "./nope", "--out", "out"], "no model at ./nope"),
    "class": (["generate", "--class", "shp", "--out", "out"], "did you mean ship"),
    "solver": (["generate", "--class", "ship", "--solver", "heun", "--out", "out"], "no solver 'heun'"),
    "layout": (["generate", "--class", "ship", "--layout", "n.png", "--out", "out"], "no picture at n.png"),
    "model to show": (["demo", "--model", "./nope", "--out", "out/page.html"], "no model at ./nope"),
    "class to show": (["demo", "--class", "shp", "--out", "out/page.html"], "did you mean ship"),
    "pictures to show": (["demo", "--images", "./nope", "--out", "out/page.html"], "no folder of pictures at nope"),
    "class of samples": (["sample", "--num", "1", "--class", "shp", "--out", "out.npz"], "did you mean ship"),
    "picture": (["reconstruct", "n.png", "--out", "out"], "no picture at n.png"),
    "model to tell of": (["info", "./nope"], "no model at ./nope"),
    "data to look at": (["data", "./nope"], "no data set at ./nope"),
    "data to tokenize": (["tokenize", "--data", "./nope", "--out", "out"], "no data set at ./nope"),
    "file to convert": (["convert", "--prior", "n.pt", "--out", "out"], "no file at n.pt"),
    "model to export": (["export", "llama", "./nope", "--out", "out"], "no model at ./nope"),
    "folder to import": (["import", "llama", "./nope", "--tokenizer", "./nope", "--out", "out"], "no folder at nope"),
    "model to evaluate": (["evaluate", "generation", "./nope", *REPORT], "no model at ./nope"),
    "samples": (["evaluate", "samples", "n.npz", *REPORT], "samples at n.npz"),
    "extractor": (["evaluate", "samples", "s.npz", *REPORT, "--extractor", "./nope"], "no extractor at ./nope"),
    "reference": (["evaluate", "samples", "s.npz", "--reference", "r.npz", "--out", "out"], "no reference at r.npz"),
    "report": (["evaluate", "compare", "a.json", "b.json"], "no report at a.json"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("here")
    (folder / "photos" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "photos" / "a" / "0.png")
    (folder / "s.npz").touch()
    return folder


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_told_before_anything_heavy_is_imported(folder: Path, slip: str) -> None:
    arguments, said = SLIPS[slip]
    before = sorted(folder.rglob("*"))
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert result.stdout.split() == [], "these were imported"
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--version"], f"dar {dar.__version__}"), (["--help"], "COMMAND [ARGS]")]
)
def test_what_needs_nothing_heavy_imports_nothing_heavy(arguments: list[str], said: str) -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    *told, imported = result.stdout.splitlines()
    assert said in "\n".join(told)
    assert imported == ""
