import argparse
import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dar.convert.checkpoint import Checkpoint, read_checkpoint
from dar.convert.published import convert, prior_from, published_settings, tokenizer_from
from dar.errors import DARError
from dar.generation.settings import SAMPLING, load_settings
from dar.pipeline import DARPipeline, load_prior, load_tokenizer
from dar.prior import Prior, PriorConfig
from dar.prior.config import PRIOR_SIZES
from dar.prior.guidance import Guidance
from dar.prior.imagenet import imagenet_classes
from dar.storage import load_tensors
from tests import tiny
from tests.convert import published


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.save_tokenizer(tmp_path_factory.mktemp("published") / "tokenizer.pt")


@pytest.fixture(scope="module")
def prior_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.save_prior(tmp_path_factory.mktemp("published") / "prior.pt")


def test_both_halves_make_a_model_that_computes_the_same(
    tmp_path: Path, tokenizer_file: Path, prior_file: Path
) -> None:
    assert convert(tmp_path / "model", tokenizer_file, prior_file) == [
        tmp_path / "model" / "tokenizer",
        tmp_path / "model" / "prior",
    ]
    pipeline = DARPipeline.from_pretrained(tmp_path / "model")
    tokenizer, prior = tiny.tokenizer(), tiny.prior()
    codes = tokenizer.encode(tiny.pixels(2))
    assert torch.equal(pipeline.tokenizer.encode(tiny.pixels(2)), codes)
    assert torch.equal(pipeline.tokenizer.decode(codes), tokenizer.decode(codes))
    classes = torch.arange(4)
    with torch.no_grad():
        assert torch.equal(pipeline.prior(classes, tiny.tokens(4)), prior(classes, tiny.tokens(4)))
    assert pipeline(["1"], seed=3).tokens.shape == (1, tiny.PRIOR.num_tokens)


def test_each_half_can_be_converted_alone_and_joins_the_other(
    tmp_path: Path, tokenizer_file: Path, prior_file: Path
) -> None:
    convert(tmp_path, tokenizer=tokenizer_file)
    assert load_tokenizer(tmp_path).config == tiny.TOKENIZER
    convert(tmp_path, prior=prior_file)
    assert load_prior(tmp_path).config == dataclasses.replace(tiny.PRIOR, class_names=("0", "1", "2"))
    DARPipeline.from_pretrained(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_keep_their_dtype(tmp_path: Path, prior_file: Path, dtype: torch.dtype) -> None:
    source = read_checkpoint(prior_file)
    source = dataclasses.replace(source, weights={name: tensor.to(dtype) for name, tensor in source.weights.items()})
    prior_from(source).write(tmp_path / "prior")
    saved = load_tensors(tmp_path / "prior" / "model.safetensors")
    state = tiny.prior().state_dict()
    state["llama.lm_head.weight"][tiny.PRIOR.codebook_size :] = 0  # classes have no logit
    assert saved.keys() == state.keys()
    assert all(torch.equal(saved[name], tensor.to(dtype)) for name, tensor in state.items())


def test_the_card_tells_where_the_weights_come_from(tmp_path: Path, tokenizer_file: Path, prior_file: Path) -> None:
    convert(tmp_path, tokenizer_file, prior_file)
    card = (tmp_path / "tokenizer" / "README.md").read_text()
    assert "`tokenizer.pt`: its averaged (`ema`) weights after 7 training steps" in card
    assert "license: mit" not in card
    assert "last (`model`) weights after 3 training steps" in (tmp_path / "prior" / "README.md").read_text()


def test_sizes_of_a_prior_come_from_its_tensors(prior_file: Path) -> None:
    source = dataclasses.replace(read_checkpoint(prior_file), arguments={})
    config = prior_from(source).config
    assert config == PriorConfig(
        class_names=("0", "1", "2"), codebook_size=32, num_tokens=256, width=64, depth=2, num_heads=1, mlp_width=128
    )


def test_a_silent_prior_takes_the_number_of_tokens_of_its_tokenizer(tmp_path: Path, tokenizer_file: Path) -> None:
    weights = published.prior_weights(tiny.prior())
    file = published.save(tmp_path / "prior.pt", {"model": weights})
    convert(tmp_path / "model", tokenizer_file, file)
    assert load_prior(tmp_path / "model").config.num_tokens == tiny.TOKENIZER.num_tokens


def test_a_thousand_classes_are_those_of_imagenet() -> None:
    classes = imagenet_classes()
    config = PriorConfig(class_names=classes)
    assert config.num_classes == 1000
    for index, name in {
        0: "tench",
        207: "Golden_Retriever",
        388: "giant panda",
        980: "volcano",
        999: "toilet tissue",
    }.items():
        assert config.class_index(name) == index


def test_every_imagenet_class_can_be_named() -> None:
    config = PriorConfig(class_names=imagenet_classes())
    assert [config.class_index(name) for name in config.class_names] == list(range(1000))
    with pytest.raises(DARError, match=r"did you mean crane \(bird\) or crane \(machine\)"):
        config.class_index("crane")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"query_low_rank": False}, "query_low_rank = False; only True is supported"),
        ({"vq_enable": False}, "vq_enable = False; only True is supported"),
        ({"queries_per_step": 3}, "queries_per_step = 3; 8 tokens in 4 groups need 2"),
        ({"vq_codebook_size": "many"}, "settings that cannot be: codebook_size must be a whole number"),
        ({"encoder_dim": 65}, "settings that cannot be: encoder_width must be a multiple of 64"),
        ({"colour": "red"}, "settings that are unknown here.*: colour"),
        ({"diff_decoder": None}, "lacks the settings diff_decoder.cond_dim"),
        ({"vq_dim": 4}, "does not hold the tensors of its configuration"),
        ({"num_encoder_layers": 1}, "has tensors of 2 encoder_layers, but its settings tell 1"),
        ({"num_decoder_layers": 3}, "has tensors of 2 decoder_layers, but its settings tell 3"),
        ({"vq_codebook_size": 64}, r"mis-shaped: quantize.embedding.weight \(is \(32, 8\), should be \(64, 8\)\)"),
    ],
)
def test_settings_that_are_not_those_of_the_tensors(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    file = published.save_tokenizer(tmp_path / "tokenizer.pt", **change)
    with pytest.raises(DARError, match=f"tokenizer.pt .*{complaint}"):
        convert(tmp_path / "model", tokenizer=file)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("mlp_head", True), ("share_time_encoding", True), ("in_dim", 4), ("out_dim", 6)],
)
def test_other_kinds_of_decoder_are_refused_by_name(tmp_path: Path, key: str, value: object) -> None:
    decoder = published.settings()["diff_decoder"] | {key: value}
    file = published.save_tokenizer(tmp_path / "tokenizer.pt", diff_decoder=decoder)
    with pytest.raises(DARError, match=f"diff_decoder.{key} = {value}; only .* is supported"):
        convert(tmp_path / "model", tokenizer=file)


@pytest.mark.parametrize("key", ["dim", "cond_dim"])
def test_widths_that_differ_are_refused_by_name(tmp_path: Path, key: str) -> None:
    decoder = published.settings()["diff_decoder"] | {key: 128}
    file = published.save_tokenizer(tmp_path / "tokenizer.pt", diff_decoder=decoder)
    with pytest.raises(DARError, match=f"diff_decoder.{key} = 128, but decoder_dim = 64"):
        convert(tmp_path / "model", tokenizer=file)


@pytest.mark.parametrize("key", sorted(published.settings()))
@pytest.mark.parametrize(
    "value", [None, [], {}, "wide", -1, 10**30, 1e30, math.nan, torch.ones(2)], ids=lambda value: str(value)[:8]
)
def test_settings_of_any_kind_get_a_sentence(tokenizer_file: Path, key: str, value: object) -> None:
    source = read_checkpoint(tokenizer_file)
    assert source.settings
    with pytest.raises(DARError, match=r"tokenizer\.pt ") as caught:
        tokenizer_from(dataclasses.replace(source, settings=source.settings | {key: value}))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("settings", ["text", [1], 3, torch.ones(2)])
def test_settings_that_are_none_get_a_sentence(tokenizer_file: Path, settings: Any) -> None:
    with pytest.raises(DARError, match="no settings of a tokenizer"):
        tokenizer_from(dataclasses.replace(read_checkpoint(tokenizer_file), settings=settings))


@pytest.mark.parametrize("content", ['{"model_type": "bert"}', '{"num_tokens": "x"}', "[", "{}"])
def test_another_folder_in_the_way_is_told(tmp_path: Path, prior_file: Path, content: str) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "config.json").write_text(content)
    if content == "{}":  # the published sizes, with which the prior disagrees
        with pytest.raises(DARError, match="the tokenizer's codebook_size is 16384, the prior's 32"):
            convert(tmp_path, prior=prior_file)
    else:
        with pytest.raises(DARError, match="tokenizer is in the way"):
            convert(tmp_path, prior=prior_file)
    assert not (tmp_path / "prior").exists()


def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path, tokenizer_file: Path) -> None:
    program = f"""
import resource, sys
from dar.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.argv = ["dar", "convert", "--tokenizer", {str(tokenizer_file)!r}, "--out", {str(tmp_path / "model")!r}]
main()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 2
    assert "cannot write" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_more_tokens_than_the_tables_have_rows(tokenizer_file: Path) -> None:
    source = read_checkpoint(tokenizer_file)
    assert source.settings
    settings = source.settings | {"num_all_queries": 2048, "queries_per_step": 512}
    with pytest.raises(DARError, match="has 2048 tokens; its tables have 1024 rows"):
        tokenizer_from(dataclasses.replace(source, settings=settings))


def without(source: Checkpoint, *names: str) -> Checkpoint:
    kept = {name: tensor for name, tensor in source.weights.items() if name not in names}
    return dataclasses.replace(source, weights=kept)


def test_tensors_missing_and_too_many_are_named(prior_file: Path) -> None:
    source = without(read_checkpoint(prior_file), "norm.weight", "layers.1.ffn_norm.weight")
    source.weights["layers.0.attention.bias"] = torch.ones(1)
    with pytest.raises(DARError) as caught:
        prior_from(source)
    assert "missing: layers.1.ffn_norm.weight, norm.weight" in str(caught.value)
    assert "extra: layers.0.attention.bias" in str(caught.value)


@pytest.mark.parametrize("name", ["cls_embedding.embedding_table.weight", "layers.0.feed_forward.w1.weight"])
def test_tensors_that_tell_the_sizes_are_named_too(prior_file: Path, name: str) -> None:
    with pytest.raises(DARError, match=f"missing: {name}"):
        prior_from(without(read_checkpoint(prior_file), name))


@pytest.mark.parametrize("heads", [0, 3, "two"])
def test_a_number_of_heads_that_cannot_be(prior_file: Path, heads: object) -> None:
    source = dataclasses.replace(read_checkpoint(prior_file), arguments={"n_head": heads})
    with pytest.raises(DARError, match="holds a prior that cannot be"):
        prior_from(source)


def test_swapped_halves_are_told(tmp_path: Path, tokenizer_file: Path, prior_file: Path) -> None:
    with pytest.raises(DARError, match=r"prior.pt is a prior, not a tokenizer: give it as --prior"):
        convert(tmp_path / "model", tokenizer=prior_file)
    with pytest.raises(DARError, match=r"tokenizer.pt is a tokenizer, not a prior: give it as --tokenizer"):
        convert(tmp_path / "model", prior=tokenizer_file)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("tensor", "project"),
    [
        ("lvl_embed.weight", "VAR"),
        ("final_layer.adaLN_modulation.1.weight", "DiT or SiT"),
        ("latent_tokens", "TiTok"),
        ("diffloss.net.input_proj.weight", "MAR"),
        ("model.embed_tokens.weight", "a Hugging Face Llama"),
        ("encoder.conv_in.weight", "a convolutional VQGAN, such as LlamaGen's tokenizer"),
    ],
)
def test_files_of_other_projects_are_told_by_their_tensors(tmp_path: Path, tensor: str, project: str) -> None:
    file = published.save(tmp_path / "other.pt", {"model": {tensor: torch.ones(2, 2)}})
    for part in ("tokenizer", "prior"):
        with pytest.raises(DARError, match=f"other.pt is no published D-AR {part}; it looks like {project}"):
            convert(tmp_path / "model", **{part: file})


@pytest.mark.parametrize("prefix", ["module.", "module._orig_mod.", "_orig_mod.module."])
def test_names_may_carry_the_prefixes_of_wrappers(tmp_path: Path, prior_file: Path, prefix: str) -> None:
    """As training in several processes saves them."""
    weights = {f"{prefix}{name}": tensor for name, tensor in published.prior_weights(tiny.prior()).items()}
    arguments = argparse.Namespace(n_head=published.NUM_HEADS, block_size=published.NUM_TOKENS)
    file = published.save(tmp_path / "wrapped.pt", {"model": weights, "args": arguments})
    for name, one in (("wrapped", file), ("plain", prior_file)):
        convert(tmp_path / name, prior=one)
    written = [load_tensors(tmp_path / name / "prior" / "model.safetensors") for name in ("wrapped", "plain")]
    assert all(torch.equal(tensor, written[1][name]) for name, tensor in written[0].items())


def test_a_file_of_unknown_tensors_is_told_what_it_lacks(tmp_path: Path) -> None:
    file = published.save(tmp_path / "mine.pt", {"model": {"net.tok_embeddings.weight": torch.ones(2, 2)}})
    told = "no published D-AR prior: it has no tensor named tok_embeddings.weight, but net.tok_embeddings.weight"
    with pytest.raises(DARError, match=re.escape(told)):
        convert(tmp_path / "model", prior=file)


def test_a_tokenizer_of_another_project_with_the_same_codebook_is_told(tmp_path: Path) -> None:
    weights = {"encoder.conv_in.weight": torch.ones(2), "quantize.embedding.weight": torch.ones(4, 8)}
    file = published.save(tmp_path / "vq.pt", {"model": weights})
    with pytest.raises(DARError, match=r"vq.pt is no published D-AR tokenizer; it looks like .* LlamaGen's tokenizer"):
        convert(tmp_path / "model", tokenizer=file)


def test_halves_that_disagree_are_told(tmp_path: Path, tokenizer_file: Path, prior_file: Path) -> None:
    longer = published.save_prior(tmp_path / "longer.pt", block_size=16)
    with pytest.raises(DARError, match=r"the tokenizer's num_tokens is 8, the prior's 16"):
        convert(tmp_path / "model", tokenizer_file, longer)
    assert not (tmp_path / "model").exists()
    convert(tmp_path / "model", tokenizer=tokenizer_file)
    with pytest.raises(DARError, match=r"the tokenizer's num_tokens is 8, the prior's 16"):
        convert(tmp_path / "model", prior=longer)
    assert not (tmp_path / "model" / "prior").exists()


def test_nothing_is_overwritten(tmp_path: Path, tokenizer_file: Path, prior_file: Path) -> None:
    convert(tmp_path, tokenizer=tokenizer_file)
    before = (tmp_path / "tokenizer" / "model.safetensors").read_bytes()
    with pytest.raises(DARError, match="tokenizer exists already"):
        convert(tmp_path, tokenizer_file, prior_file)
    assert (tmp_path / "tokenizer" / "model.safetensors").read_bytes() == before
    assert not (tmp_path / "prior").exists()


@pytest.mark.parametrize(("size", "guidance"), [("L", (1.1, 8.0)), ("XL", (1.1, 10.0)), ("B", None), ("XXL", None)])
def test_the_published_guidance_is_known_by_size(size: str, guidance: tuple[float, float] | None) -> None:
    found = published_settings(PriorConfig(class_names=("a",), **PRIOR_SIZES[size]))
    assert (found and found.guidance_scale.values()) == guidance


def test_settings_come_with_a_prior_and_replace_none(
    tmp_path: Path, prior_file: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dar.convert.published._GUIDANCE", {"L": (1.1, 8.0)})
    sizes = {name: getattr(tiny.PRIOR, name) for name in PRIOR_SIZES["L"]}
    monkeypatch.setattr("dar.convert.published.PRIOR_SIZES", {"L": sizes})
    assert convert(tmp_path / "new", tokenizer_file, prior_file)[-1] == tmp_path / "new" / SAMPLING
    assert load_settings(tmp_path / "new").guidance_scale == Guidance(1.1, 8.0)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / SAMPLING).write_text('{"guidance": 2}')
    assert convert(tmp_path / "old", prior=prior_file) == [tmp_path / "old" / "prior"]
    assert load_settings(tmp_path / "old").guidance_scale == Guidance(2.0, 2.0)


def test_nothing_to_convert() -> None:
    with pytest.raises(DARError, match="nothing to convert"):
        convert(Path("out"))


@pytest.mark.slow
def test_memory_stays_near_the_size_of_the_file(tmp_path: Path) -> None:
    """Two copies in memory, or the file's and the model's, would take at least twice its size."""
    config = PriorConfig(
        class_names=("a",), codebook_size=16, num_tokens=4, width=1024, depth=6, num_heads=8, mlp_width=2048
    )
    with torch.device("meta"):
        shapes = published.prior_weights(Prior(config), config)
    weights = {name: torch.ones(tensor.shape) for name, tensor in shapes.items()}
    file = published.save(tmp_path / "prior.pt", {"model": weights})
    program = f"""
import json, resource, sys
from pathlib import Path
from dar.convert.published import convert
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
convert(Path({str(tmp_path / "model")!r}), prior=Path({str(file)!r}))
print(json.dumps([before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = json.loads(result.stdout)
    unit = 1 if sys.platform == "darwin" else 1024
    assert (after - before) * unit < 1.3 * file.stat().st_size
