"""A prior as a folder that any Llama stack reads, and such a folder as a prior (docs/formats.md)."""

from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dar.errors import DARError
from dar.prior import Prior, PriorConfig
from dar.prior.imagenet import usual_names
from dar.storage import CONFIG, read_json, writing
from dar.tokenizer import TokenizerConfig


def export_llama(prior: Prior, out: Path) -> None:
    """Write what ``transformers.AutoModelForCausalLM.from_pretrained(out)`` loads without this package.

    Beside weights and settings there is a tokenizer that reads ``<class:7>``, ``<class:null>`` and ``<image:7>``.

    Raises:
        DARError: if ``out`` is there already, or cannot be written to.
    """
    if out.exists():
        raise DARError(f"{out} exists already: choose another output folder")
    with writing(out) as aside:
        prior.llama.save_pretrained(aside)
        text_tokenizer(prior.config).save_pretrained(aside)


def text_tokenizer(config: PriorConfig) -> PreTrainedTokenizerFast:
    """Reads and writes tokens as text, such as ``<class:7><image:12>``; other text is an error."""
    split = config.codebook_size
    vocabulary = {f"<image:{i}>": i for i in range(split)}
    vocabulary |= {f"<class:{i}>": split + i for i in range(config.num_classes)}
    vocabulary["<class:null>"] = split + config.null_class
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("<[^<>]*>"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, model_max_length=config.num_tokens + 1
    )


def import_llama(folder: Path, tokenizer: TokenizerConfig) -> Prior:
    """The prior of a folder that transformers saved, in the folder's dtype.

    Its vocabulary must be laid out as ours: the tokenizer's V image tokens, then class tokens, then the null class.
    Class names are the configuration's ``id2label``, else ImageNet's where there are 1000, else the indices.

    Args:
        folder: with config.json and safetensors; one file or shards.
        tokenizer: of the images; tells V and N.

    Raises:
        DARError: if the folder holds another network, a Llama that is built otherwise, or damaged files.
    """
    config = _prior_config(folder, tokenizer)
    try:
        loaded: Any = LlamaForCausalLM.from_pretrained(
            folder, dtype="auto", use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DARError(f"{folder} has no whole safetensors weights of a Llama ({reason}): save it again") from error
    llama, loading = loaded
    for kind in ("missing_keys", "unexpected_keys"):
        if names := sorted(loading[kind]):
            raise DARError(f"{folder} does not hold the tensors of its sizes; {kind[:-5]}: {', '.join(names)}")
    prior = Prior(config)
    prior.llama.load_state_dict(llama.state_dict(), assign=True)
    return prior.eval()


def _prior_config(folder: Path, tokenizer: TokenizerConfig) -> PriorConfig:
    content = read_json(folder / CONFIG)
    kind = content.get("model_type", "model of another kind")
    if kind != "llama":
        raise DARError(f"{folder / CONFIG} describes a {kind}, not a Llama that transformers saved")
    try:
        llama = LlamaConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, TypeError, ValueError, StrictDataclassError) as error:
        raise DARError(f"{folder / CONFIG} does not describe a Llama: {' '.join(str(error).split())}") from error
    _check_plain(folder, llama)
    num_classes = llama.vocab_size - tokenizer.codebook_size - 1
    if num_classes < 1:
        raise DARError(
            f"{folder} has a vocabulary of {llama.vocab_size} tokens, too few for the tokenizer's "
            f"{tokenizer.codebook_size} image tokens, a class and the null class: give the tokenizer it was trained on"
        )
    try:
        return PriorConfig(
            class_names=_class_names(content.get("id2label"), num_classes),
            codebook_size=tokenizer.codebook_size,
            num_tokens=tokenizer.num_tokens,
            width=llama.hidden_size,
            depth=llama.num_hidden_layers,
            num_heads=llama.num_attention_heads,
            mlp_width=llama.intermediate_size,
            rope_theta=_rope(llama)["rope_theta"],
            norm_eps=llama.rms_norm_eps,
        )
    except ValueError as error:
        raise DARError(f"{folder} holds a Llama that cannot be a prior: {error}") from error


def _check_plain(folder: Path, llama: LlamaConfig) -> None:
    """Refuse a Llama that is built unlike a prior."""
    wanted = {
        "num_key_value_heads": llama.num_attention_heads,
        "head_dim": llama.hidden_size // llama.num_attention_heads,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
    }
    found: dict[str, Any] = {name: getattr(llama, name) for name in wanted}
    found["rope_type"], wanted["rope_type"] = _rope(llama)["rope_type"], "default"
    for name, value in wanted.items():
        if found[name] != value:
            raise DARError(f"{folder} has {name} = {found[name]!r}; a prior has {value!r}")


def _rope(llama: LlamaConfig) -> dict[str, Any]:
    return dict(llama.rope_parameters or {})


def _class_names(recorded: Any, num_classes: int) -> tuple[str, ...]:
    if isinstance(recorded, dict) and set(recorded) == set(map(str, range(num_classes))):
        return tuple(recorded[str(i)] for i in range(num_classes))
    return usual_names(num_classes)
