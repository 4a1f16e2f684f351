"""Models of this package as the Hub's libraries know them: ``from_pretrained`` and its kin."""

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from dar.errors import DARError
from dar.files import CONFIG, read_json
from dar.locations import here, on_hub, unreachable
from dar.storage import WEIGHTS, load_weights, save_tensors

CARD = "README.md"
"""A model's card, as the Hub calls it."""


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
        save_tensors(save_directory / WEIGHTS, self.state_dict())

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Any:
        """Load from a local folder or the Hub; arguments are those of ``PyTorchModelHubMixin``.

        Raises:
            DARError: if there is no such folder or repository, or its files are missing, damaged, or do not fit each
                other.
        """
        folder = here(pretrained_model_name_or_path, "model")
        if folder is None:
            return cls._from_hub(str(pretrained_model_name_or_path), **kwargs)
        read_json(folder / CONFIG)
        try:
            return super().from_pretrained(folder, **kwargs)
        except DARError:
            raise
        except (TypeError, ValueError) as error:
            raise DARError(f"{folder / CONFIG} does not describe a {cls.__name__}: {error}") from error

    @classmethod
    def _from_hub(cls, name: str, **kwargs: Any) -> Any:
        offline = {} if on_hub(name, "model", "model") else {"local_files_only": True}
        try:
            return super().from_pretrained(name, **(kwargs | offline))
        except DARError:
            raise
        except Exception as error:  # whatever the Hub's client, its network and the disk raise
            if offline:
                raise unreachable(name, "model") from error
            raise DARError(f"the model {name} could not be downloaded from the Hub ({error}): try again") from error

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", **kwargs: Any) -> Any:
        from huggingface_hub import hf_hub_download

        config = kwargs.pop("config")
        if Path(model_id).is_dir():
            path = Path(model_id) / WEIGHTS
        else:
            path = Path(hf_hub_download(model_id, WEIGHTS, **kwargs))
        model = cls(config)
        assert isinstance(model, nn.Module)
        load_weights(model, path)
        return model.to(map_location).eval()
