"""What the package promises as a whole."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import dar
import dar.data

SOURCE = Path(dar.__file__).parent
FORBIDDEN = {"torchvision", "torch-fidelity", "clean-fid", "pytorch-fid", "lpips", "timm"}
LAYERS = [
    {"errors", "lazily", "fields", "json_text"},
    {"checks", "dtypes", "files", "pages", "progress"},
    {"packed_linear", "token_cache"},
    {"locations", "locking", "extras", "storage", "randomness", "nn", "flow", "solvers", "environment", "metrics"}
    | {"rgb", "lettering", "device", "free_memory"},
    {"plots", "image_files", "model_folder"},
    {"hub"},
    {"images", "sheets"},
    {"class_sheet", "terminal"},
    {"tokenizer", "prior", "features"},
    {"generation"},
    {"data", "pipeline", "reconstruction"},
    {"samples", "report"},
    {"train", "convert", "evaluate", "inspection", "demo", "serve"},
    {"cli"},
    {"__main__"},
]


def test_import_loads_nothing_heavy() -> None:
    program = "import sys, dar; print(*(n for n in ('torch', 'transformers', 'numpy', 'PIL') if n in sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_import_of_data_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "numpy", "PIL", "datasets", "pyarrow")
    program = f"import sys, dar.data; print(*(n for n in {heavy} if n in sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_public_names_exist() -> None:
    for name in dar.__all__:
        assert getattr(dar, name).__name__ == name
    assert set(dar.__all__) <= set(dir(dar))
    assert all(hasattr(dar.data, name) and name in dir(dar.data) for name in dar.data.__all__)


def test_nothing_requires_torchvision() -> None:
    """Neither the package with all its extras nor anything that these pull in."""
    closure, waiting = set(), ["dar"]
    while waiting:
        name = waiting.pop()
        if name in closure:
            continue
        closure.add(name)
        try:
            wanted = requires(name) or []
        except PackageNotFoundError:  # wanted on other platforms only
            continue
        for requirement in wanted:
            extra_of_another = "extra ==" in requirement and name != "dar"
            if not extra_of_another:
                waiting.append(re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-"))
    assert {"torch", "transformers", "datasets", "accelerate"} <= closure
    assert not closure & FORBIDDEN


def test_pins_leave_torchvision_out() -> None:
    pins = (Path(__file__).parents[1] / "constraints.txt").read_text().lower()
    assert "torch==" in pins
    assert not [name for name in FORBIDDEN if re.search(rf"^{name}\b", pins, re.MULTILINE)]


def named_of_all(text: str) -> list[str]:
    """What ``from dar import ...`` names, but for the version, which needs nothing."""
    lines = re.findall(r"^\s*from dar import ([^\n]+)", text, re.MULTILINE)
    return [name for line in lines for name in re.findall(r"\w+", line) if name != "__version__"]


def test_modules_depend_downwards_only() -> None:
    level = {name: height for height, names in enumerate(LAYERS) for name in names}
    for file in SOURCE.rglob("*.py"):
        own = file.relative_to(SOURCE).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        text = file.read_text()
        assert not re.search(r"^\s*import dar\b(?!\.)", text, re.MULTILINE), f"{file} imports all of dar"
        for used in re.findall(r"^\s*(?:from|import) dar\.(\w+)", text, re.MULTILINE) + named_of_all(text):
            assert used == own or level[used] < level[own], f"{file} imports dar.{used}"
    for one, other in (("tokenizer", "prior"), ("prior", "tokenizer")):
        text = "".join(file.read_text() for file in (SOURCE / one).rglob("*.py"))
        assert f"dar.{other}" not in text


def test_the_table_of_layers_is_the_one_that_is_held() -> None:
    table = (SOURCE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Layers")[1]
    rows = re.findall(r"^\| [^|]+ \| (`[^|]+`) \|$", table, re.MULTILINE)
    documented = [set(re.findall(r"`(\w+)`", row)) for row in reversed(rows)]
    assert documented == LAYERS[:-1]  # all but __main__


def test_one_module_makes_progress_bars() -> None:
    """So that a log never holds copies of one."""
    makers = [file.name for file in SOURCE.rglob("*.py") if re.search(r"\btqdm\(|\btrange\(", file.read_text())]
    assert makers == ["progress.py"]


def test_no_pickle_is_executed() -> None:
    for file in SOURCE.rglob("*.py"):
        text = file.read_text()
        assert not re.search(r"pickle\.(load|Unpickler)|from pickle", text), file
        for call in re.findall(r"torch\.load\([^\n]*", text):
            assert "weights_only=True" in call, file
