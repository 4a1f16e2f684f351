"""Export of a prior as a folder that any Llama stack reads, and import of such a folder (docs/formats.md)."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

from dar.errors import DARError, listed, quoted
from dar.files import CONFIG, read_json, refuse_existing, writing
from dar.prior import Prior, PriorConfig
from dar.prior.imagenet import usual_names
from dar.storage import DTYPES, WEIGHTS, check_names_and_shapes, open_tensors
from dar.tokenizer import TokenizerConfig

_SIZE_FIELDS = {
    "vocab_size": "",
    "hidden_size": "width",
    "num_hidden_layers": "depth",
    "num_attention_heads": "num_heads",
    "intermediate_size": "mlp_width",
}
"""Our fields for a Llama's sizes; the vocabulary is split."""

_PLAIN = {
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "quantization_config": None,
    "rope_type": "default",
}
"""Settings of a prior where Llamas differ; None means that it follows from the sizes."""

_NO_WEIGHTS = "rotary_emb.inv_freq"
"""A tensor that old folders hold, and that follows from the settings."""


def export_llama(prior: Prior, out: Path) -> None:
    """Write a folder that ``transformers.AutoModelForCausalLM.from_pretrained(out)`` loads without this package.

    Beside weights and settings there is a tokenizer that reads ``<class:7>``, ``<class:null>`` and ``<image:7>``.

    Raises:
        DARError: if ``out`` is there already, or cannot be written to.
    """
    refuse_existing(out)
    with writing(out) as aside:
        prior.llama.save_pretrained(aside)
        text_tokenizer(prior.config).save_pretrained(aside)
        for file in aside.iterdir():
            file.chmod(0o644)  # safetensors lets nobody else read


def text_tokenizer(config: PriorConfig) -> PreTrainedTokenizerFast:
    """Build what reads and writes tokens as text, such as ``<class:7><image:12>``.

    Spaces mean nothing, other text is an error.
    """
    split = config.codebook_size
    vocabulary = {f"<image:{i}>": i for i in range(split)}
    vocabulary |= {f"<class:{i}>": split + i for i in range(config.num_classes)}
    vocabulary["<class:null>"] = split + config.null_class
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("<[^<>]*>"), "isolated"), pre_tokenizers.Split(Regex(r"^\s+$"), "removed")]
    )
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, model_max_length=config.num_tokens + 1
    )


def import_llama(folder: Path, tokenizer: TokenizerConfig) -> Prior:
    """Load the prior of a folder that transformers saved, in the dtype of its weights.

    Its vocabulary must be laid out as ours: the tokenizer's V image tokens, then class tokens, then the null class.
    Class names are the configuration's ``id2label``, else ImageNet's where there are 1000, else the indices.

    Args:
        folder: with config.json and safetensors; one file or shards.
        tokenizer: of the images; gives V and N.

    Raises:
        DARError: if the folder holds another network, a Llama that is built otherwise, or damaged files.
    """
    stored = _read_config(folder)
    files = _weight_files(folder)
    with ExitStack() as stack:
        shards = [stack.enter_context(open_tensors(file)) for file in files]
        places = {name: shard for shard in shards for name in shard.keys() if not name.endswith(_NO_WEIGHTS)}  # noqa: SIM118
        shapes = {name: tuple(shard.get_slice(name).get_shape()) for name, shard in places.items()}
        config = _prior_config(folder, stored, tokenizer, shapes)
        with torch.device("meta"):
            wanted = {name: tuple(tensor.shape) for name, tensor in Prior(config).llama.state_dict().items()}
        check_names_and_shapes(folder, wanted, shapes)
        weights = {name: shard.get_tensor(name) for name, shard in places.items()}
    if odd := [name for name, tensor in weights.items() if tensor.dtype not in DTYPES]:
        raise DARError(f"{folder} has weights that are no real numbers, or quantised: {listed(odd)}")
    prior = Prior(config)
    prior.llama.load_state_dict(weights, assign=True)
    return prior.eval()


def _weight_files(folder: Path) -> list[Path]:
    """List the folder's safetensors: one file, or the shards that its index names."""
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if not index.exists():
        return [folder / WEIGHTS]
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise DARError(f"{index} does not tell where the tensors are: save the Llama again")
    names = set(map(str, places.values()))
    if outside := [name for name in names if Path(name).name != name]:
        raise DARError(f"{index} names files outside the folder: {listed(outside)}")
    return [folder / name for name in sorted(names)]


def _read_config(folder: Path) -> dict[str, Any]:
    """Read the folder's config.json, if it is a Llama's."""
    config = read_json(folder / CONFIG)
    kind = config.get("model_type", "model of another kind")
    if kind != "llama":
        raise DARError(f"{folder / CONFIG} describes a {quoted(kind)}, not a Llama that transformers saved")
    return config


def _prior_config(
    folder: Path, config: Mapping[str, Any], tokenizer: TokenizerConfig, shapes: Mapping[str, tuple[int, ...]]
) -> PriorConfig:
    """Make the configuration of the prior that config.json and the shapes of the weights describe."""
    sizes: dict[str, int] = {name: config.get(name, 0) for name in _SIZE_FIELDS}
    if odd := [name for name, value in sizes.items() if type(value) is not int or value < 1]:
        raise DARError(f"{folder / CONFIG} does not describe a Llama: {listed(odd)} must be whole numbers above 0")
    layers = {name.split(".")[2] for name in shapes if name.startswith("model.layers.")}
    embedding = shapes.get("model.embed_tokens.weight")
    if embedding != (sizes["vocab_size"], sizes["hidden_size"]) or len(layers) != sizes["num_hidden_layers"]:
        raise DARError(
            f"{folder} has an embedding of {embedding} and {len(layers)} layers; config.json tells "
            f"{(sizes['vocab_size'], sizes['hidden_size'])} and {sizes['num_hidden_layers']}: save the Llama again"
        )
    theta = _check_plain(folder, config)
    num_classes = embedding[0] - tokenizer.codebook_size - 1
    if num_classes < 1:
        raise DARError(
            f"{folder} has a vocabulary of {embedding[0]} tokens, too few for the tokenizer's "
            f"{tokenizer.codebook_size} image tokens, a class and the null class: give the tokenizer it was trained on"
        )
    try:
        return PriorConfig(
            class_names=_class_names(config.get("id2label"), num_classes),
            codebook_size=tokenizer.codebook_size,
            num_tokens=tokenizer.num_tokens,
            **{ours: sizes[theirs] for theirs, ours in _SIZE_FIELDS.items() if ours},
            rope_theta=theta,
            norm_eps=config.get("rms_norm_eps", 1e-6),
        )
    except (TypeError, ValueError) as error:
        raise DARError(f"{folder} holds a Llama that cannot be a prior: {quoted(error)}") from error


def _check_plain(folder: Path, config: Mapping[str, Any]) -> Any:
    """Refuse a Llama that is built unlike a prior; returns the base of its rotary frequencies."""
    heads, width = config["num_attention_heads"], config["hidden_size"]
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope = rope if isinstance(rope, dict) else {"rope_type": rope}
    found = {name: config.get(name, usual) for name, usual in _PLAIN.items()}
    found["rope_type"] = rope.get("rope_type", rope.get("type", _PLAIN["rope_type"]))
    wanted = _PLAIN | {
        "num_key_value_heads": heads,
        "head_dim": width // heads if width % heads == 0 else f"the {heads}th part of {width}",
    }
    for name, value in wanted.items():
        follows = found[name] is None and _PLAIN[name] is None
        if not follows and found[name] != value:
            raise DARError(f"{folder} has {name} = {quoted(repr(found[name]))}; a prior has {value!r}")
    return rope.get("rope_theta", config.get("rope_theta", 10000.0))


def _class_names(recorded: Any, num_classes: int) -> tuple[str, ...]:
    if isinstance(recorded, dict) and set(recorded) == set(map(str, range(num_classes))):
        return tuple(quoted(recorded[str(i)]) for i in range(num_classes))
    return usual_names(num_classes)
