import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from dar.convert.llama import export_llama, import_llama
from dar.errors import DARError
from dar.files import read_json, write_json
from dar.prior import Prior
from dar.prior.drawing import Sampling
from dar.prior.guidance import Guidance, GuidanceLike
from dar.prior.sampling import generate_tokens
from dar.storage import load_tensors, save_tensors
from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "llama"
    export_llama(tiny.prior(), out)
    return out


@pytest.fixture(scope="module")
def llama(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder)


def likeliest(prior: Prior, classes: Tensor, guidance: GuidanceLike) -> Tensor:
    """B x N tokens of our own loop."""
    uniforms = torch.zeros(len(classes), prior.config.num_tokens)
    return torch.stack(
        list(generate_tokens(prior, classes, uniforms, Guidance.of(guidance), Sampling(temperature=0))), dim=1
    )


def test_the_folder_holds_what_other_stacks_expect(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    expected = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert names == expected
    assert read_json(folder / "config.json")["architectures"] == ["LlamaForCausalLM"]


@torch.no_grad()
def test_logits_are_ours(llama: Any) -> None:
    prior, classes, tokens = tiny.prior(), torch.arange(4), tiny.tokens(4)
    sequence = torch.cat([prior.class_tokens(classes)[:, None], tokens[:, :-1]], dim=1)
    assert torch.equal(llama(sequence).logits[..., : prior.config.codebook_size], prior(classes, tokens))


def test_greedy_tokens_are_ours(llama: Any) -> None:
    prior, classes = tiny.prior(), torch.tensor([0, 2, 1])
    generated = llama.generate(prior.class_tokens(classes)[:, None], do_sample=False)
    assert torch.equal(generated[:, 1:], likeliest(prior, classes, 1.0))


@pytest.mark.parametrize("scale", [1.5, 4.0])
def test_guided_greedy_tokens_are_ours(llama: Any, scale: float) -> None:
    prior, classes = tiny.prior(), torch.tensor([0, 2, 1])
    null = prior.class_tokens(torch.full_like(classes, prior.config.null_class))[:, None]
    generated = llama.generate(
        prior.class_tokens(classes)[:, None], do_sample=False, guidance_scale=scale, negative_prompt_ids=null
    )
    ours = likeliest(prior, classes, scale)
    assert torch.equal(generated[:, 1:], ours)
    assert not torch.equal(ours, likeliest(prior, classes, 1.0))


def test_drawn_tokens_are_image_tokens_of_the_plain_distribution(llama: Any) -> None:
    prior, count = tiny.prior(), 4000
    torch.manual_seed(0)
    classes = torch.ones(count, dtype=torch.int64)
    generated = llama.generate(prior.class_tokens(classes)[:, None])[:, 1:]
    assert generated.shape == (count, prior.config.num_tokens)
    assert generated.max() < prior.config.codebook_size
    with torch.no_grad():
        wanted = prior(classes[:1], tiny.tokens(1))[0, 0].softmax(-1)
    found = torch.bincount(generated[:, 0], minlength=prior.config.codebook_size) / count
    assert (found - wanted).abs().max() < 0.03  # four standard deviations


def test_the_prior_itself_generates_in_the_same_way(llama: Any) -> None:
    prior = tiny.prior()
    start = prior.class_tokens(torch.tensor([[2]]))
    assert torch.equal(prior.llama.generate(start, do_sample=False), llama.generate(start, do_sample=False))


def test_text_names_tokens(folder: Path) -> None:
    vocabulary, config = AutoTokenizer.from_pretrained(folder), tiny.PRIOR
    assert len(vocabulary) == config.vocab_size
    assert vocabulary("<class:2>")["input_ids"] == [config.codebook_size + 2]
    text = "<class:null><image:0><image:31>"
    assert vocabulary(text)["input_ids"] == [config.codebook_size + config.null_class, 0, 31]
    assert vocabulary.decode([config.codebook_size + config.null_class, 0, 31]) == text
    for other in ("<class:3>", "a cat", "<image:32>"):
        with pytest.raises(Exception, match="vocabulary"):
            vocabulary(other)


@pytest.mark.parametrize("text", ["<class:1><image:2> ", "<class:1><image:2>\n", " <class:1> <image:2>"])
def test_spaces_beside_tokens_mean_nothing(folder: Path, text: str) -> None:
    vocabulary = AutoTokenizer.from_pretrained(folder)
    assert vocabulary(text).input_ids == vocabulary("<class:1><image:2>").input_ids


def test_export_overwrites_nothing(folder: Path) -> None:
    with pytest.raises(DARError, match=r"llama exists already"):
        export_llama(tiny.prior(), folder)


def test_import_gives_the_exported_prior_back(folder: Path) -> None:
    prior, back = tiny.prior(), import_llama(folder, tiny.TOKENIZER)
    assert back.config == prior.config
    state = prior.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in back.state_dict().items())
    classes = torch.tensor([1, 0])
    assert torch.equal(likeliest(back, classes, (1.0, 3.0)), likeliest(prior, classes, (1.0, 3.0)))


def small_llama(**changes: Any) -> LlamaForCausalLM:
    """A Llama that someone else made."""
    settings = {
        "vocab_size": tiny.PRIOR.vocab_size,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**settings | changes))


@pytest.mark.parametrize("shard", ["10GB", "50KB"])
def test_a_llama_trained_elsewhere_imports(tmp_path: Path, shard: str) -> None:
    llama = small_llama(rope_parameters={"rope_type": "default", "rope_theta": 500.0}, rms_norm_eps=1e-6).bfloat16()
    llama.save_pretrained(tmp_path, max_shard_size=shard)
    assert len(list(tmp_path.glob("*.safetensors"))) == (1 if shard == "10GB" else 4)
    prior = import_llama(tmp_path, tiny.TOKENIZER)
    assert (prior.config.class_names, prior.config.num_heads) == (("0", "1", "2"), 4)
    assert (prior.config.rope_theta, prior.config.norm_eps) == (500.0, 1e-6)
    assert prior.llama.dtype == torch.bfloat16
    sequence = torch.tensor([[33, 1, 2, 3]])
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(tmp_path)(sequence).logits
        assert torch.equal(prior.llama(sequence).logits, logits)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"num_key_value_heads": 2}, "num_key_value_heads = 2; a prior has 4"),
        ({"head_dim": 32}, "head_dim = 32; a prior has 16"),
        ({"attention_bias": True}, "attention_bias = True; a prior has False"),
        ({"mlp_bias": True}, "mlp_bias = True; a prior has False"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'; a prior has 'silu'"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings = True; a prior has False"),
        (
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
            "rope_type = 'linear'; a prior has 'default'",
        ),
        ({"vocab_size": 33}, "vocabulary of 33 tokens, too few for the tokenizer's 32 image tokens"),
    ],
)
def test_a_llama_that_is_built_otherwise_is_refused(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    small_llama(**change).save_pretrained(tmp_path)
    with pytest.raises(DARError, match=complaint):
        import_llama(tmp_path, tiny.TOKENIZER)


def drop_a_tensor(folder: Path) -> None:
    tensors = load_tensors(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_tensors(folder / "model.safetensors", tensors, {"format": "pt"})


def add_a_tensor(folder: Path) -> None:
    tensors = load_tensors(folder / "model.safetensors") | {"model.extra": torch.ones(2)}
    save_tensors(folder / "model.safetensors", tensors, {"format": "pt"})


def truncate(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def replace_by_a_pickle(folder: Path) -> None:
    torch.save(load_tensors(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def change_the_width(folder: Path) -> None:
    write_json(folder / "config.json", read_json(folder / "config.json") | {"intermediate_size": 96})


def name_another_model(folder: Path) -> None:
    write_json(folder / "config.json", read_json(folder / "config.json") | {"model_type": "qwen2"})


def spoil_the_settings(folder: Path) -> None:
    write_json(folder / "config.json", read_json(folder / "config.json") | {"hidden_size": "wide"})


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (drop_a_tensor, r"missing: model\.norm\.weight"),
        (add_a_tensor, r"extra: model\.extra"),
        (truncate, "is not a whole safetensors file"),
        (replace_by_a_pickle, r"model.safetensors does not exist"),
        (change_the_width, r"mis-shaped: model.layers.0.mlp.down_proj.weight \(is \(64, 128\), should be \(64, 96\)\)"),
        (name_another_model, "describes a qwen2, not a Llama"),
        (spoil_the_settings, "does not describe a Llama"),
    ],
)
def test_damage_is_told(tmp_path: Path, damage: Callable[[Path], None], complaint: str) -> None:
    small_llama().save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(DARError, match=complaint):
        import_llama(tmp_path, tiny.TOKENIZER)


def test_a_folder_of_ours_and_no_folder_are_told(tmp_path: Path) -> None:
    tiny.prior().save_pretrained(tmp_path)
    with pytest.raises(DARError, match="describes a model of another kind, not a Llama that transformers saved"):
        import_llama(tmp_path, tiny.TOKENIZER)
    with pytest.raises(DARError, match="does not exist"):
        import_llama(tmp_path / "none", tiny.TOKENIZER)


def test_class_names_travel(folder: Path) -> None:
    names = json.loads((folder / "config.json").read_text())["id2label"]
    assert names == {"0": "cat", "1": "great dane", "2": "sea_lion"}
