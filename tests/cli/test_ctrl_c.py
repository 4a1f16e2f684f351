"""Ctrl-C ends each command with a word on what holds then, and with a code of its own."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
from PIL import Image

OUT = ["--out", "out"]
COMMANDS = {
    "generate": (["generate", "--class", "0", *OUT], "dar.model_folder.check_whole"),
    "sample": (["sample", "--num", "1", *OUT], "dar.model_folder.check_whole"),
    "info": (["info"], "dar.model_folder.model_folder"),
    "evaluate generation": (["evaluate", "generation", "--reference", "cifar10", *OUT], "dar.cli.checks.references"),
    "evaluate compare": (["evaluate", "compare", "a", "b"], "dar.cli.checks.paths"),
    "data": (["data", "photos"], "dar.cli.checks.data"),
    "convert": (["convert", "--prior", "a.pt", *OUT], "dar.cli.checks.paths"),
    "export": (["export", "llama", *OUT], "dar.cli.checks.tokenizer"),
    "train": (
        ["train", "tokenizer", "--recipe", "debug", "--data", "photos", *OUT],
        "dar.cli.checks.data",
    ),
}
BEGUN = {
    "demo": (["demo", "--out", "out/demo.html"], "dar.demo.job.make_demo", "no page was written"),
    "reconstruct": (
        ["reconstruct", "photos/a/0.png", *OUT],
        "dar.reconstruction.reconstructions",
        "the pictures named above are finished",
    ),
    "tokenize": (
        ["tokenize", "--data", "photos", *OUT],
        "dar.train.tokenization.tokenize_images",
        "the same command goes on",
    ),
    "statistics": (
        ["evaluate", "statistics", "photos", "--image-size", "32", "--extractor", "cifar10", "--out", "s.safetensors"],
        "dar.evaluate.reference.load_reference",
        "nothing was written",
    ),
}


@pytest.fixture
def press(dar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command that is interrupted where it calls a function; returns its exit code and what it says."""
    (tmp_path / "photos" / "a").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "photos" / "a" / "0.png")
    monkeypatch.chdir(tmp_path)

    def interrupted(*_: Any, **__: Any) -> NoReturn:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("no one pressed")

    def run(arguments: list[str], function: str) -> tuple[int, str]:
        monkeypatch.setattr(function, interrupted)
        return dar(*arguments), "".join(capsys.readouterr())

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_before_anything_is_done(press, command: str) -> None:
    code, said = press(*COMMANDS[command])
    assert code == 130
    assert said == "interrupted; files that are there are whole\n"
    assert not Path("out").exists()


@pytest.mark.parametrize("command", BEGUN)
def test_ctrl_c_says_what_is_kept(press, command: str) -> None:
    arguments, function, kept = BEGUN[command]
    code, said = press(arguments, function)
    assert code == 130
    assert said.splitlines()[-1].startswith(f"interrupted; {kept}")
    assert "Traceback" not in said
    assert not [path for path in Path().rglob("*") if path.is_file() and path.parts[0] != "photos"]


@pytest.mark.parametrize("pressed", [True, False])
def test_ctrl_c_while_a_library_is_imported(
    dar,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pressed: bool,
) -> None:
    """Some swallow it, and then lack a part of themselves."""

    def import_half(*_: Any) -> NoReturn:
        with suppress(KeyboardInterrupt):
            if pressed:
                signal.raise_signal(signal.SIGINT)
        raise ImportError("cannot import name")

    monkeypatch.setattr("dar.model_folder.model_folder", import_half)
    if pressed:
        assert dar("info") == 130
        assert capsys.readouterr().out == "interrupted; files that are there are whole\n"
    else:
        with pytest.raises(ImportError, match="cannot import name"):
            dar("info")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
