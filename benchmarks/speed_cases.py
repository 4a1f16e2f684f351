"""What speed is measured of: models, batches, guidance and number formats."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path

import torch
from torch import nn

from benchmarks.hardware import TYPES
from dar.errors import DARError
from dar.pipeline import DARPipeline
from dar.prior import Prior, PriorConfig
from dar.prior.config import PRIOR_SIZES
from dar.tokenizer import SequentialDiffusionTokenizer, TokenizerConfig
from dar.tokenizer.config import TOKENIZER_SIZES

BUNDLED, V1 = "bundled", "v1"
PRIORS = ("B", "L", "XL")
BATCHES = (1, 4, 16)
DTYPES = tuple(TYPES)
GUIDANCE = 3.0
"""Scale of the guided cases, the same at all tokens, as transformers wants it."""

DRAWN, DECODED, STREAMED, CALLED = "tokens", "decoding", "streamed", "not streamed"
DYNAMIC, STATIC, NAIVE = "transformers, dynamic cache", "transformers, static cache", "naive streaming"
PARTS_OF_PRIOR = (DRAWN, DYNAMIC, STATIC, STREAMED, CALLED, NAIVE)

SWEPT = {
    "tokens": (16, 32, 64, 128, 256),
    "pixels": (16, 32, 64, 128),
    "batch": (1, 2, 4, 8, 16, 32, 64),
}
"""How cost grows: the bundled model's sizes with one thing changed, and random weights."""


@dataclass(frozen=True)
class Case:
    """One model in one setting.

    Attributes:
        model: "bundled", one of ``PRIOR_SIZES`` (with the v1 tokenizer), "v1" (that tokenizer), or a model's folder.
        batch: images at once.
        guided: whether tokens are guided, by two rows an image.
        dtype: of the weights.
        parts: what is measured.
        swept: what is changed of the model's sizes: "tokens", "pixels" or "batch"; None for nothing.
        value: to what.
    """

    model: str
    batch: int
    guided: bool
    dtype: str
    parts: tuple[str, ...]
    swept: str | None = None
    value: int = 0

    @property
    def name(self) -> str:
        if self.swept is not None:
            return f"sweep-{self.swept}-{self.value}"
        guided = () if self.parts == (DECODED,) else ("guided" if self.guided else "unguided",)
        return "-".join([Path(self.model).name, str(self.batch), *guided, self.dtype])

    @property
    def weights(self) -> tuple[object, ...]:
        """Equal for cases that share their weights."""
        return self.model, self.dtype, *((self.swept, self.value) if self.swept in ("tokens", "pixels") else ())

    @property
    def scale(self) -> float:
        return GUIDANCE if self.guided else 1.0


def all_cases(model: str = BUNDLED) -> list[Case]:
    """All there are, those of the same weights in a row; ``model`` takes the place of the bundled one."""
    return [*model_cases(model), *_published_cases(), *sweep_cases(model)]


def model_cases(model: str) -> list[Case]:
    settings = product(DTYPES, BATCHES, (True, False))
    return [Case(model, batch, guided, dtype, (*PARTS_OF_PRIOR, DECODED)) for dtype, batch, guided in settings]


def _published_cases() -> list[Case]:
    decoding = [Case(V1, batch, False, dtype, (DECODED,)) for dtype, batch in product(DTYPES, BATCHES)]
    settings = product(PRIORS, DTYPES, BATCHES, (True, False))
    return decoding + [Case(size, batch, guided, dtype, PARTS_OF_PRIOR) for size, dtype, batch, guided in settings]


def sweep_cases(model: str) -> list[Case]:
    return [
        Case(model, value if swept == "batch" else 1, True, "float32", (STREAMED,), swept, value)
        for swept, values in SWEPT.items()
        for value in values
    ]


def quick_cases(model: str) -> list[Case]:
    """One and four images of one model, in each type."""
    return [case for case in model_cases(model) if case.batch < BATCHES[-1]]


def chosen(cases: Iterable[Case], names: Sequence[str]) -> list[Case]:
    """The cases of these models, or with such names; a pattern with ``*`` fits several, no names fit all.

    Raises:
        DARError: for a name that fits none.
    """
    cases = list(cases)
    for name in names:
        if not any(_fits(case, name) for case in cases):
            models = ", ".join(dict.fromkeys(case.model for case in cases))
            raise DARError(f"no case is named {name!r}: give a model ({models}), or a name such as {cases[0].name}")
    return [case for case in cases if not names or any(_fits(case, name) for name in names)]


def _fits(case: Case, name: str) -> bool:
    return fnmatchcase(case.name, name) or (case.model == name and case.swept is None)


def build(case: Case, device: torch.device) -> DARPipeline:
    """Load the model of a case, or make one of its sizes with random weights."""
    pipe = random_published(case.model) if case.model in (V1, *PRIOR_SIZES) else _loaded(case)
    return pipe.to(device) if case.dtype == "float32" else pipe.to(device, getattr(torch, case.dtype))


def _loaded(case: Case) -> DARPipeline:
    pipe = DARPipeline.from_pretrained(None if case.model == BUNDLED else case.model)
    if case.swept == "tokens":
        groups = pipe.tokenizer.config.num_groups
        tokens = max(case.value // groups, 1) * groups
        tokenizer = replace(pipe.tokenizer.config, num_tokens=tokens)
        return _random(tokenizer, replace(pipe.prior.config, num_tokens=tokens))
    if case.swept == "pixels":
        return _random(replace(pipe.tokenizer.config, image_size=case.value), pipe.prior.config)
    return pipe


def random_published(model: str) -> DARPipeline:
    """Make a prior of a published size, or "v1" for any, and the v1 tokenizer, with random weights."""
    sizes = PRIOR_SIZES["B" if model == V1 else model]
    classes = tuple(map(str, range(1000)))
    return _random(TokenizerConfig(**TOKENIZER_SIZES["v1"]), PriorConfig(class_names=classes, **sizes))


def _random(tokenizer: TokenizerConfig, prior: PriorConfig) -> DARPipeline:
    torch.manual_seed(0)
    models: tuple[nn.Module, ...] = (SequentialDiffusionTokenizer(tokenizer), Prior(prior))
    for parameter in (parameter for model in models for parameter in model.parameters()):
        if not parameter.any():  # what training starts at zero would let values pass unchanged
            nn.init.normal_(parameter, std=0.02)
    return DARPipeline(*models)  # type: ignore[arg-type]
