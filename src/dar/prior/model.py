"""The prior: a plain Llama that predicts image tokens one by one (docs/architecture.md, step 7)."""

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from dar.hub import CARD_TEMPLATE, HubModel
from dar.packed_linear import KeptPacking
from dar.prior.config import PriorConfig


class Prior(nn.Module, HubModel, library_name="dar", model_card_template=CARD_TEMPLATE):
    """transformers' ``LlamaForCausalLM``, unmodified, with the vocabulary of ``PriorConfig``.

    Args:
        config: sizes, vocabulary and classes.

    Attributes:
        llama: the transformers model; its own ``generate`` draws image tokens too.
        packing: keeps the packed weights of ``dar.prior.decoding``.
        compiled: whether generation compiles its layers.
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self.llama = LlamaForCausalLM(llama_config(config))
        self.llama.generation_config = generation_config(config)
        self.packing = KeptPacking()
        self.compiled = False

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.llama.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.llama.dtype

    def forward(self, classes_B: Tensor, tokens_BN: Tensor) -> Tensor:
        """Compute logits of every image token, given the class and the tokens before it.

        Args:
            classes_B: B class indices, int64; ``config.null_class`` stands for none.
            tokens_BN: B x N image tokens, int64.

        Returns:
            B x N x V; row i predicts token i. Class tokens can't occur there and have no logit.
        """
        sequence = torch.cat([self.class_tokens(classes_B)[:, None], tokens_BN[:, :-1]], dim=1)
        return self.llama(input_ids=sequence, use_cache=False).logits[..., : self.config.codebook_size]

    def class_tokens(self, classes_B: Tensor) -> Tensor:
        """Map class indices, the null class included, to vocabulary ids."""
        return classes_B + self.config.codebook_size


def llama_config(config: PriorConfig) -> LlamaConfig:
    """Make the transformers configuration of a prior."""
    return LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.width,
        intermediate_size=config.mlp_width,
        num_hidden_layers=config.depth,
        num_attention_heads=config.num_heads,
        max_position_embeddings=config.num_tokens + 1,
        rms_norm_eps=float(config.norm_eps),
        rope_parameters={"rope_type": "default", "rope_theta": float(config.rope_theta)},
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
        id2label=dict(enumerate(config.class_names)),
    )


def generation_config(config: PriorConfig) -> GenerationConfig:
    """Make the defaults of transformers' own ``generate``: draw N image tokens from the plain distribution."""
    return GenerationConfig(
        max_new_tokens=config.num_tokens,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        suppress_tokens=list(range(config.codebook_size, config.vocab_size)),
    )
