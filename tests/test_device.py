import pytest
import torch

from dar.device import as_device, as_dtype, convert_weights, placement
from dar.errors import DARError
from tests import tiny

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["cpu", "CPU", " Cpu ", CPU])
def test_devices_go_by_names_in_any_case(name: str | torch.device) -> None:
    assert as_device(name) == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "cpu:x", 99, None, "meta", "hpu", "privateuseone"])
def test_unknown_devices_are_refused_in_a_sentence(name: object) -> None:
    with pytest.raises(DARError, match=r"cannot compute on .* here: choose another device, such as cpu"):
        as_device(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["bfloat16", "BFloat16", "torch.bfloat16", torch.bfloat16])
def test_dtypes_go_by_names(name: str | torch.dtype) -> None:
    assert as_dtype(name) == torch.bfloat16


@pytest.mark.parametrize("name", ["int8", torch.int8, torch.float64, "half", None])
def test_other_dtypes_are_refused(name: object) -> None:
    with pytest.raises(DARError, match="dtype must be one of float32, bfloat16, float16, not "):
        as_dtype(name)  # type: ignore[arg-type]


def test_device_and_dtype_come_in_any_order() -> None:
    both = CPU, torch.bfloat16
    assert placement(["cpu", torch.bfloat16], None, None) == both
    assert placement(["bfloat16", "CPU"], None, None) == both
    assert placement([], "cpu", "bfloat16") == both
    assert placement([torch.bfloat16], "cpu", None) == both
    assert placement(["cpu"], None, None) == (CPU, None)
    assert placement([], None, torch.float16) == (None, torch.float16)


@pytest.mark.parametrize("given", [[], ["cpu", "cpu"], [torch.float16, "float16"]])
def test_nothing_and_too_much_are_refused(given: list[str]) -> None:
    with pytest.raises(DARError, match="one device, one dtype, or both"):
        placement(given, None, None)


def test_tables_of_angles_stay_exact() -> None:
    tokenizer, prior = tiny.tokenizer(), tiny.prior()
    for model in (tokenizer, prior):
        convert_weights(model, torch.bfloat16)
        assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}
    assert tokenizer.encoder.cos.dtype == prior.llama.model.rotary_emb.inv_freq.dtype == torch.float32
