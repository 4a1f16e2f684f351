"""Models that the Hub's libraries load and save: ``from_pretrained`` and its kin."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self, Unpack

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from dar.checks import refuse_unknown_arguments
from dar.device import Device, as_device, as_dtype, convert_weights
from dar.errors import DARError
from dar.files import CONFIG, read_json
from dar.locations import here
from dar.model_folder import HubOptions, model_folder
from dar.storage import WEIGHTS, check_layout, load_weights, parameters_without_memory, save_weights

CARD = "README.md"
"""Name of a model's card on the Hub."""


CARD_TEMPLATE = """---
{{ card_data }}
---

A part of a D-AR model (Diffusion via Autoregressive Models). `dar.DARPipeline.from_pretrained` loads the folder that
holds `tokenizer/` and `prior/`.
"""


class HubModel(PyTorchModelHubMixin):
    """``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` with strict loading and atomic writing.

    A subclass is an ``nn.Module`` built from one dataclass, its argument ``config``.
    """

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Write config.json and model.safetensors, in the weights' dtype; arguments are the mixin's.

        Raises:
            DARError: if the folder cannot be written to.
        """
        try:
            return super().save_pretrained(save_directory, **kwargs)
        except OSError as error:
            raise DARError(f"cannot write to {save_directory} ({error.strerror}): choose another folder") from error

    def _save_pretrained(self, save_directory: Path) -> None:
        assert isinstance(self, nn.Module)
        save_weights(save_directory / WEIGHTS, self)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # the mixin takes any keyword
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        subfolder: str | None = None,
        dtype: str | torch.dtype = torch.float32,
        device: Device = "cpu",
        **hub: Unpack[HubOptions],
    ) -> Self:
        """Load a model, ready for inference.

        Args:
            pretrained_model_name_or_path: a folder, or a Hub id.
            subfolder: where in it the model is, such as "tokenizer".
            dtype: of its weights: float32, bfloat16 or float16, of torch or by name.
            device: where to put it.
            **hub: see ``dar.model_folder.HubOptions``.

        Raises:
            DARError: if there is none, the files are missing, damaged, or do not fit each other, or for an unknown
                dtype, device or keyword.
        """
        known = {*HubOptions.__optional_keys__, "subfolder", "dtype", "device"}
        refuse_unknown_arguments(f"{cls.__name__}.from_pretrained", hub, known)
        weights, where = as_dtype(dtype), as_device(device)
        path = here(pretrained_model_name_or_path, "model")
        folder = (
            path
            if path and not subfolder and not hub
            else model_folder(path or str(pretrained_model_name_or_path), subfolder, **hub)
        )
        read_json(folder / CONFIG)
        try:
            return super().from_pretrained(folder, dtype=weights, device=where)
        except DARError:
            raise
        except (TypeError, ValueError) as error:
            raise DARError(f"{folder / CONFIG} does not describe a {cls.__name__}: {error}") from error

    @classmethod
    def _from_pretrained(  # type: ignore[override]  # files are here by now
        cls, *, model_id: str, config: Any, dtype: torch.dtype, device: torch.device, **kwargs: Any
    ) -> Self:
        weights = Path(model_id) / WEIGHTS
        make: Callable[[], Any] = partial(cls, config)
        check_layout(weights, make)
        with parameters_without_memory():
            model = make()
        convert_weights(model, dtype)  # whatever torch's default is
        load_weights(model, weights)
        return model.to(device).eval()
