"""D-AR: Diffusion via Autoregressive Models.

Nothing heavy is imported here: torch and transformers load when a name below is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dar' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
