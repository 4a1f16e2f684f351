"""Class label -> tokens -> denoising steps -> previews -> image."""

from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Self, Unpack

import torch
from torch import Tensor

from dar.checks import refuse_unknown_arguments
from dar.device import Device, as_device, as_dtype, convert_weights, placement
from dar.dtypes import plain_name
from dar.errors import DARError
from dar.generation.memory import BatchSize
from dar.generation.request import Request, Settings, make_request
from dar.generation.results import Generation, Preview
from dar.generation.settings import GenerationSettings, GivenSettings, load_settings, save_settings
from dar.generation.streaming import previews
from dar.model_folder import BUNDLED, PRIOR, TOKENIZER, HubOptions, check_whole, model_folder, part_folder
from dar.prior import Prior, PriorConfig
from dar.prior.classes import Classes
from dar.progress import progress_bar
from dar.storage import weights_hash
from dar.tokenizer import SequentialDiffusionTokenizer, TokenizerConfig


class DARPipeline:
    """A tokenizer and a prior that speak the same tokens.

    Args:
        tokenizer: turns tokens into pixels.
        prior: predicts tokens.
        settings: the model's own, for whatever a call leaves open; None means the package's defaults.
        name: what to call the model.

    Raises:
        DARError: if the two disagree on the size of the codebook or the number of tokens.
    """

    def __init__(
        self,
        tokenizer: SequentialDiffusionTokenizer,
        prior: Prior,
        settings: GenerationSettings | None = None,
        name: str = "a model without a name",
    ) -> None:
        check_agreement(tokenizer.config, prior.config)
        self.tokenizer = tokenizer.eval()
        self.prior = prior.eval()
        self.settings = settings or GenerationSettings()
        self.name = name

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        *,
        device: Device = "cpu",
        dtype: str | torch.dtype = torch.float32,
        subfolder: str | None = None,
        **hub: Unpack[HubOptions],
    ) -> Self:
        """Load a model.

        Args:
            source: a folder, a Hub id, or None for the model that the package brings along.
            device: where to put it.
            dtype: of its weights: float32, bfloat16 or float16, of torch or by name.
            subfolder: where in the folder or repository the model is.
            **hub: ``revision`` and more, see ``dar.storage.HubOptions``.

        Raises:
            DARError: if the source is neither, its files are missing or damaged, or for an unknown device, dtype or
                keyword.
        """
        known = {*HubOptions.__optional_keys__, "device", "dtype", "subfolder"}
        refuse_unknown_arguments("DARPipeline.from_pretrained", hub, known)
        where, weights = as_device(device), as_dtype(dtype)
        folder = model_folder(source, subfolder, **hub)
        check_whole(folder)
        return cls(
            SequentialDiffusionTokenizer.from_pretrained(folder / TOKENIZER, dtype=weights, device=where),
            Prior.from_pretrained(folder / PRIOR, dtype=weights, device=where),
            load_settings(folder),
            f"the bundled model {BUNDLED}" if source is None else str(source),
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``tokenizer/`` and ``prior/``, each in its weights' dtype, and the model's own settings."""
        self.tokenizer.save_pretrained(Path(folder) / TOKENIZER)
        self.prior.save_pretrained(Path(folder) / PRIOR)
        save_settings(Path(folder), self.settings)

    def weights_hashes(self) -> dict[str, str]:
        """Compute the SHA-256 of the weights of each part, by its name."""
        return {TOKENIZER: weights_hash(self.tokenizer), PRIOR: weights_hash(self.prior)}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.tokenizer.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.tokenizer.dtype

    def to(
        self,
        *device_or_dtype: Device | torch.dtype,
        device: Device | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> Self:
        """Move both models to a device, a dtype, or both, in any order; returns the pipeline itself.

        Raises:
            DARError: if there is no such device, or the dtype is not float32, bfloat16 or float16.
        """
        where, weights = placement(device_or_dtype, device, dtype)
        for model in (self.tokenizer, self.prior):
            if weights is not None:
                convert_weights(model, weights)
            model.to(where)
        return self

    def compile(self) -> Self:
        """Compile what generation repeats, at the first images; returns the pipeline itself.

        It takes tens of seconds for each batch size, and pays where many images follow.

        Raises:
            DARError: on a CPU, where packed weights are as fast.
        """
        if self.device.type == "cpu":
            raise DARError("compiling pays on a GPU only: move the model to one first, or leave it out")
        self.prior.compiled = True
        self.tokenizer.diffusion_decoder.compile_steps()
        return self

    def cuda(self, device: int | str | torch.device = "cuda") -> Self:
        """Move both models to a GPU; returns the pipeline itself."""
        return self.to(device)

    def cpu(self) -> Self:
        """Move both models to the CPU; returns the pipeline itself."""
        return self.to("cpu")

    def __repr__(self) -> str:
        facts = [f"{name} {value}" for name, value in self._facts().items() if name != "name"]
        return f"DARPipeline of {self.name}: {', '.join(facts)}"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in self._facts().items())
        return f"<table><caption>DARPipeline</caption>{rows}</table>"

    def _facts(self) -> dict[str, str]:
        """Collect the main facts about the model."""
        config, classes = self.tokenizer.config, self.prior.config.num_classes
        millions = [
            sum(weight.numel() for weight in model.parameters()) / 1e6 for model in (self.tokenizer, self.prior)
        ]
        return {
            "name": self.name,
            "images": f"{config.image_size} x {config.image_size}",
            "tokens": f"{config.num_tokens} in {config.num_groups} groups",
            "classes": str(classes),
            "parameters": f"{millions[0]:.1f} M (tokenizer) + {millions[1]:.1f} M (prior)",
            "weights": f"{plain_name(self.dtype)} on {self.device}",
            "settings": str(self.resolved({})),
        }

    def resolved(self, given: GivenSettings) -> GenerationSettings:
        """Resolve the settings that generation uses: those given, and the model's own for the rest.

        Raises:
            DARError: for a setting that is unknown or cannot be.
        """
        refuse_unknown_arguments("DARPipeline.resolved", given, GivenSettings.__optional_keys__)
        return self.settings.replaced(given).resolved(self.tokenizer.config)

    def __call__(
        self,
        classes: Classes,
        *,
        num_images_per_prompt: int = 1,
        batch_size: BatchSize = None,
        progress: bool = False,
        callback: Callable[[Preview], None] | None = None,
        **settings: Unpack[Settings],
    ) -> Generation:
        """Generate images of classes: what ``stream`` yields last, to the bit.

        Args:
            classes: a class name or index, or several; a tensor or array of indices, too.
            num_images_per_prompt: images of each class, one after the other; image i of all uses seed + i.
            batch_size: images computed at a time; None means all, "auto" as many as fit into memory, 64 at most on
                a CPU and 256 elsewhere. It changes nothing but rounding.
            progress: whether to show a bar.
            callback: called with each preview of each batch, the final ones included.
            **settings: the other arguments of ``stream``.

        Raises:
            DARError: for any argument that is unknown or out of its range, before anything is computed.
        """
        own = {"num_images_per_prompt", "batch_size", "progress", "callback"}
        refuse_unknown_arguments("DARPipeline.__call__", settings, Settings.__optional_keys__ | own)
        request = self._request(classes, settings, num_images_per_prompt, batch_size)
        pixels: list[Tensor] = []
        tokens: list[Tensor] = []
        with progress_bar(len(request), shown=progress) as bar:
            for batch in request.batches():
                for preview in previews(self.tokenizer, self.prior, batch):
                    bar.set_postfix_str(f"denoising step {preview.step}")
                    if callback is not None:
                        callback(preview)
                bar.update(len(batch))
                pixels.append(preview.pixels.cpu())
                tokens.append(preview.tokens)
        return Generation(torch.cat(pixels), torch.cat(tokens), request.class_names, request.seeds, request.settings)

    def stream(self, classes: Classes, **settings: Unpack[Settings]) -> Iterator[Preview]:
        """Generate one image a class, with a preview after every denoising step.

        A step runs as soon as its token group exists, and a preview costs no further network call.

        The rule of seeds: an image depends on its class, its own seed and the settings alone. With a number, image i
        uses seed + i; with a list, its own entry. So image i of a batch equals the image generated alone with that
        seed, up to the rounding of another batch shape. Streamed and unstreamed images are equal to the bit, since
        both run this code; ``tokenizer.decode(tokens, seed)`` gives them too, with the same steps and solver.

        Settings that are not given are the model's own (``settings``).

        Args:
            classes: a class name or index, or several; a tensor or array of indices, too.
            seed: see ``dar.randomness.Seed``; by default 0.
            generator: draws the seeds instead; or one an image.
            layout: a picture whose first tokens are kept, so that its layout stays while the class changes; or one
                picture a class. See ``dar.images.Picture``.
            layout_tokens: how many of its tokens to keep, 1 to N; goes with ``layout``.
            kept_tokens: the first tokens themselves, where they are known, instead of ``layout``: the same numbers for
                all images, or classes x P, a row an image.
            **settings: the fields of ``dar.GenerationSettings``, explained there and in
                ``dar.prior.drawing.Sampling``, such as ``guidance_scale``, ``temperature`` and ``steps``.

        Returns:
            An iterator of previews, one a step; the last is the finished batch.

        Raises:
            DARError: at the call, for any argument that is unknown or out of its range.
        """
        refuse_unknown_arguments("DARPipeline.stream", settings, Settings.__optional_keys__)
        return previews(self.tokenizer, self.prior, self._request(classes, settings))

    def check(self, classes: Classes, *, batch_size: BatchSize = None, **settings: Unpack[Settings]) -> int:
        """Make sure that ``stream`` would take these arguments; computes no image.

        Args:
            classes: see ``stream``.
            batch_size: see ``__call__``.
            **settings: see ``stream``.

        Returns:
            How many of the images to compute at a time.

        Raises:
            DARError: for any argument that is unknown or out of its range.
        """
        refuse_unknown_arguments("DARPipeline.check", settings, Settings.__optional_keys__)
        return self._request(classes, settings, batch_size=batch_size).batch_size

    def _request(
        self, classes: Classes, given: Settings, images_per_class: int = 1, batch_size: BatchSize = None
    ) -> Request:
        return make_request(
            self.tokenizer, self.prior.config, self.settings, classes, given, images_per_class, batch_size
        )


def check_agreement(tokenizer: TokenizerConfig, prior: PriorConfig) -> None:
    """Make sure that a tokenizer and a prior speak the same tokens.

    Raises:
        DARError: if the two disagree on the size of the codebook or the number of tokens.
    """
    for name in ("codebook_size", "num_tokens"):
        ours, theirs = getattr(tokenizer, name), getattr(prior, name)
        if ours != theirs:
            raise DARError(
                f"the tokenizer's {name} is {ours}, the prior's {theirs}: use a prior trained on this tokenizer"
            )


def load_tokenizer(
    source: str | Path | None = None, *, device: Device = "cpu", dtype: str | torch.dtype = torch.float32
) -> SequentialDiffusionTokenizer:
    """Load the tokenizer of a model, or one saved alone; arguments as of ``DARPipeline.from_pretrained``."""
    folder = part_folder(model_folder(source), TOKENIZER)
    return SequentialDiffusionTokenizer.from_pretrained(folder, device=device, dtype=dtype)


def load_prior(source: str | Path | None = None) -> Prior:
    """Load the prior of a model, or one saved alone; ``source`` as in ``DARPipeline.from_pretrained``."""
    return Prior.from_pretrained(part_folder(model_folder(source), PRIOR))
