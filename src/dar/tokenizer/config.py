"""Sizes of a tokenizer."""

from dataclasses import dataclass
from types import MappingProxyType

from dar.fields import HEAD_WIDTH, MOST_STEPS, check_sizes, require_at_least, require_at_most, require_one_of

DECODER_CONTEXTS = ("group", "prefix")

MOST_SEEN = 2**15
"""Patches and tokens that the encoder may see; what each may look at takes the square of that in bytes."""

MOST_DENOISED = 2**18
"""Patches that the diffusion decoder may denoise; no tensor of the weights tells their number."""


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Every size of a sequential diffusion tokenizer; the defaults are those of the published v1 model.

    Attributes:
        image_size: height and width of the images, in pixels.
        encoder_patch_size: side of the patches that the encoder reads, in pixels.
        encoder_width: width of the encoder, a multiple of 64.
        encoder_depth: blocks of the encoder.
        num_tokens: N, tokens of an image.
        num_groups: K, the consecutive groups that the tokens form; group k conditions denoising step k.
        codebook_size: V, entries of the codebook.
        codebook_dim: channels of an entry.
        latent_decoder_depth: blocks that turn tokens into conditions; as wide as the diffusion decoder.
        decoder_patch_size: side of the patches that the diffusion decoder denoises, in pixels.
        decoder_width: width of the diffusion decoder, a multiple of 64.
        decoder_depth: blocks of the diffusion decoder.
        decoder_context: whose conditions patches look at in a denoising step: "group", the step's own group (as
            published), or "prefix", all groups up to it.
        num_steps: S, the default number of denoising steps.
        data_std: factor that scales images in [-1, 1] for the flow.
        time_shift: beta of the flow's clock.
        final_steps: equal parts of the clock that the last group drives, where each other drives one;
            see ``dar.flow.Clock``.
        rope_theta: base of the rotary frequencies.

    Raises:
        ValueError: at construction, naming the value that cannot be.
    """

    image_size: int = 256
    encoder_patch_size: int = 16
    encoder_width: int = 768
    encoder_depth: int = 8
    num_tokens: int = 256
    num_groups: int = 8
    codebook_size: int = 16384
    codebook_dim: int = 8
    latent_decoder_depth: int = 8
    decoder_patch_size: int = 8
    decoder_width: int = 768
    decoder_depth: int = 12
    decoder_context: str = "group"
    num_steps: int = 8
    data_std: float = 0.6
    time_shift: float = 2.0
    final_steps: int = 1
    rope_theta: float = 10000.0

    def __post_init__(self) -> None:
        require_one_of(self, "decoder_context", *DECODER_CONTEXTS)
        check_sizes(self)
        for name in ("encoder_width", "decoder_width"):
            if getattr(self, name) % HEAD_WIDTH:
                raise ValueError(f"{name} must be a multiple of {HEAD_WIDTH}, not {getattr(self, name)}")
        for name in ("encoder_patch_size", "decoder_patch_size"):
            if self.image_size % getattr(self, name):
                raise ValueError(f"image_size {self.image_size} is not a multiple of {name} {getattr(self, name)}")
        if self.num_tokens % self.num_groups:
            raise ValueError(f"num_tokens {self.num_tokens} is not a multiple of num_groups {self.num_groups}")
        require_at_least(self, 2, "codebook_size")
        self._check_bounds()

    def _check_bounds(self) -> None:
        """Bound what weights do not: a file of a few bytes could else ask for any memory and time."""
        seen = (self.image_size // self.encoder_patch_size) ** 2 + self.num_tokens
        if seen > MOST_SEEN:
            raise ValueError(f"the encoder would see {seen} patches and tokens, but at most {MOST_SEEN} are possible")
        denoised = (self.image_size // self.decoder_patch_size) ** 2
        if denoised > MOST_DENOISED:
            raise ValueError(f"the decoder would denoise {denoised} patches, but at most {MOST_DENOISED} are possible")
        require_at_most(self, MOST_STEPS, "num_steps")

    @property
    def tokens_per_group(self) -> int:
        """q = N / K, the tokens that condition one denoising step."""
        return self.num_tokens // self.num_groups


TOKENIZER_SIZES = MappingProxyType(
    {
        "v1": {
            "image_size": 256,
            "encoder_patch_size": 16,
            "encoder_width": 768,
            "encoder_depth": 8,
            "num_tokens": 256,
            "num_groups": 8,
            "codebook_size": 16384,
            "codebook_dim": 8,
            "latent_decoder_depth": 8,
            "decoder_patch_size": 8,
            "decoder_width": 768,
            "decoder_depth": 12,
            "num_steps": 8,
        }
    }
)
"""Published size: 300 M parameters."""
