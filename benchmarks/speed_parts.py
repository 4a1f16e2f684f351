"""One timed run of each thing that is measured: ours through the public interface, and what it is compared with.

Another commit's source runs this file too, so it uses of dar what has been there for long.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, StaticCache
from transformers.generation.streamers import BaseStreamer

from benchmarks.speed_cases import CALLED, DECODED, DRAWN, DYNAMIC, NAIVE, STATIC, STREAMED, Case, build
from benchmarks.timing import seconds, wait
from dar.pipeline import DARPipeline
from dar.prior.sampling import generate_tokens
from dar.randomness import draw_noise

Span = tuple[int, int]
"""The tokens, or the steps, from the first of these numbers, counted from 0, to the one before the second."""


class Workbench:
    """A model, its inputs, and the runs that are timed.

    Attributes:
        device: where the model is.
        pipe: the model of the latest case.
        count: N, tokens of an image.
        steps: S, denoising steps.
    """

    pipe: DARPipeline

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._weights: object = None

    def prepare(self, case: Case) -> None:
        """Load a case's model, unless it is there, and make its inputs."""
        if case.weights != self._weights:
            self._weights = None
            self.__dict__.pop("pipe", None)  # its memory, before the next one takes some
            self.pipe = build(case, self.device)
            self._weights = case.weights
        self.settings = self.pipe.resolved({"guidance_scale": case.scale})
        self.steps = self.settings.steps or self.pipe.tokenizer.config.num_steps
        self.count = self.pipe.prior.config.num_tokens
        self._guided, self._batch = case.guided, case.batch
        draws = torch.Generator().manual_seed(0)
        self._classes = torch.arange(case.batch) % self.pipe.prior.config.num_classes
        self._uniforms = torch.rand(case.batch, self.count, dtype=torch.float64, generator=draws)
        codes = self.pipe.prior.config.codebook_size
        self.tokens = torch.randint(codes, (case.batch, self.count), generator=draws).to(self.device)
        self.noise = draw_noise(list(range(case.batch)), self.pipe.tokenizer.config.image_size)

    def run(self, part: str, span: Span) -> dict[str, float]:
        """Time one run of a part; ``span`` says which tokens, or which steps of decoding."""
        with torch.no_grad():
            return _RUNS[part](self, span)

    def drawn(self, span: Span) -> dict[str, float]:
        """Tokens alone."""
        prefix = self.prefix(span)
        start = time.perf_counter()
        columns = self.columns(prefix)
        for i, _ in enumerate(islice(columns, span[1]), start=1):
            if i == span[0]:
                start = self._now()
        return {"seconds": self._now() - start}

    def decoded(self, span: Span) -> dict[str, float]:
        """Steps alone, of tokens that are there."""
        groups = self.tokens.split(self.pipe.tokenizer.config.tokens_per_group, dim=1)

        def decode() -> None:
            images = self.pipe.tokenizer.denoise(groups, self.noise, self.steps, self.settings.solver)
            for _ in islice(images, span[1]):
                pass

        return {"seconds": seconds(decode, self.device)}

    def streamed(self, span: Span) -> dict[str, float]:
        """A preview after each step."""
        return self._previews(self.pipe.stream(self._classes, seed=0, guidance_scale=self.settings.guidance_scale))

    def called(self, span: Span) -> dict[str, float]:
        """The images alone."""
        scale = self.settings.guidance_scale
        return {"seconds": seconds(lambda: self.pipe(self._classes, seed=0, guidance_scale=scale), self.device)}

    def naively_streamed(self, span: Span) -> dict[str, float]:
        """A preview after each group of tokens, for which all groups are decoded again."""
        return self._previews(self.naive_previews())

    def naive_previews(self) -> Iterator[Tensor]:
        """Images B x 3 x H x W, one after each group of tokens."""
        size, known = self.pipe.tokenizer.config.tokens_per_group, []
        for column in self.columns(self.prefix((0, self.count))):
            known.append(column)
            if len(known) % size == 0:
                yield self.pipe.tokenizer.decode(
                    torch.stack(known, dim=1),
                    noise=self.noise,
                    steps=self.steps,
                    solver=self.settings.solver,
                    num_tokens=len(known),
                )

    def dynamic(self, span: Span) -> dict[str, float]:
        """transformers' ``generate``."""
        return self._timed_generation(span, DynamicCache(config=self.pipe.prior.llama.config))

    def static(self, span: Span) -> dict[str, float]:
        """The same, with a cache that has its final size from the start."""
        length = self.pipe.prior.config.num_tokens
        return self._timed_generation(span, StaticCache(config=self.pipe.prior.llama.config, max_cache_len=length))

    def _timed_generation(self, span: Span, cache: Any) -> dict[str, float]:
        clock = _Clock(self._now)
        start = time.perf_counter()
        self.generated(span, cache, clock)
        return {"seconds": clock.times[-1] - (clock.times[0] if span[0] else start)}

    def generated(self, span: Span, cache: Any, streamer: BaseStreamer | None = None) -> Tensor:
        """Have transformers generate the tokens up to the span's end: B x (1 + tokens), the class's first."""
        prior, prefix = self.pipe.prior, self.prefix(span)
        prompt = self._prompt(self._classes, prefix)
        null = torch.full_like(self._classes, prior.config.null_class)
        guidance: Mapping[str, Any] = {
            "guidance_scale": self.settings.guidance_scale.start,
            "negative_prompt_ids": self._prompt(null, prefix),
        }
        settings = self.settings
        return prior.llama.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            past_key_values=cache,
            max_new_tokens=span[1] - prefix.shape[1],
            streamer=streamer,
            do_sample=settings.temperature > 0,
            temperature=settings.temperature or None,
            top_k=settings.top_k or 0,
            top_p=settings.top_p,
            **(guidance if self._guided else {}),
        )

    def columns(self, prefix_BP: Tensor) -> Iterator[Tensor]:
        """Generate tokens after those that are given."""
        settings, prior = self.settings, self.pipe.prior
        return generate_tokens(prior, self._classes, self._uniforms, settings.guidance_scale, settings, prefix_BP)

    def _prompt(self, classes_B: Tensor, prefix_BP: Tensor) -> Tensor:
        classes = self.pipe.prior.class_tokens(classes_B.to(self.device))
        return torch.cat([classes[:, None], prefix_BP], dim=1)

    def prefix(self, span: Span) -> Tensor:
        """Tokens that are given: all before the span but one, which fills the cache and is not timed."""
        return self.tokens[:, : max(span[0] - 1, 0)]

    def _previews(self, previews: Iterable[object]) -> dict[str, float]:
        start = time.perf_counter()
        first = None
        for _ in previews:
            first = first or self._now()
        assert first is not None
        return {"first_preview": first - start, "seconds": self._now() - start}

    def _now(self) -> float:
        wait(self.device)
        return time.perf_counter()


_RUNS: Mapping[str, Callable[[Workbench, Span], dict[str, float]]] = {
    DRAWN: Workbench.drawn,
    DECODED: Workbench.decoded,
    STREAMED: Workbench.streamed,
    CALLED: Workbench.called,
    NAIVE: Workbench.naively_streamed,
    DYNAMIC: Workbench.dynamic,
    STATIC: Workbench.static,
}


class _Clock(BaseStreamer):
    """Notes when transformers has each token."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._is_prompt = True
        self.times: list[float] = []

    def put(self, value: Tensor) -> None:
        if not self._is_prompt:
            self.times.append(self._now())
        self._is_prompt = False

    def end(self) -> None:
        pass
