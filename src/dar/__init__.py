"""D-AR: Diffusion via Autoregressive Models.

Nothing heavy is imported here: torch and transformers load when a name below is first used.
"""

from typing import TYPE_CHECKING

from dar.lazily import lazily

if TYPE_CHECKING:
    from dar.errors import DARError
    from dar.generation.results import Generation, Preview
    from dar.generation.settings import GenerationSettings
    from dar.pipeline import DARPipeline
    from dar.prior import Prior, PriorConfig
    from dar.tokenizer import SequentialDiffusionTokenizer, TokenizerConfig

__version__ = "0.1.0"
__all__ = [
    "DARError",
    "DARPipeline",
    "Generation",
    "GenerationSettings",
    "Preview",
    "Prior",
    "PriorConfig",
    "SequentialDiffusionTokenizer",
    "TokenizerConfig",
]

_HOMES = {
    "DARError": "dar.errors",
    "DARPipeline": "dar.pipeline",
    "Generation": "dar.generation.results",
    "GenerationSettings": "dar.generation.settings",
    "Preview": "dar.generation.results",
    "Prior": "dar.prior",
    "PriorConfig": "dar.prior",
    "SequentialDiffusionTokenizer": "dar.tokenizer",
    "TokenizerConfig": "dar.tokenizer",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
