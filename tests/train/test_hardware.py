import pytest

from dar.errors import DARError
from dar.train.hardware import GPUS, published, split_name, this_machine


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [("h100x8", "h100", 8), ("H100", "h100", 1), ("rtx4090", "rtx4090", 1), ("rtx4090x2", "rtx4090", 2)],
)
def test_names_say_which_and_how_many(text: str, name: str, count: int) -> None:
    assert split_name(text) == (name, count)


@pytest.mark.parametrize("text", ["h10", "h100x0", "h100x", "xxx", "", "h100 x 8 x 8", "x8"])
def test_other_hardware_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(DARError, match=r"there are no figures of .* choose one of h200, h100, a100-80"):
        split_name(text)


def test_the_nearest_is_named() -> None:
    with pytest.raises(DARError, match="did you mean a100-"):
        split_name("a100x8")


def test_precision_chooses_the_rate() -> None:
    assert published("h100x8", "auto").rate == 989.5e12
    assert published("h100x8", "fp32").rate == 67e12
    assert published("t4", "auto").rate == 8.1e12
    assert not published("t4", "auto").bf16
    with pytest.raises(DARError, match="T4 has no bfloat16"):
        published("t4", "bf16")


def test_all_figures_are_of_this_world() -> None:
    for gpu in GPUS.values():
        assert 10 < gpu.memory_gb < 300
        assert 5 < gpu.fp32_tflops < 200
        assert gpu.bf16_tflops is None or gpu.fp32_tflops < gpu.bf16_tflops < 3000


def test_this_machine_is_measured() -> None:
    here = this_machine(2, "fp32")
    assert here.is_measured
    assert here.processes == 2
    assert 1e8 < here.rate < 1e15
    assert here.memory > 1e8
