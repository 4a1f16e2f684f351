"""Image tokens from transformers alone, pixels from the tokenizer alone.

dar export llama --out llama/
python examples/plain_transformers.py llama/ --class-index 8 --out ships.png
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from dar.generation.settings import GenerationSettings, load_settings
from dar.images import save_image, to_images
from dar.model_folder import model_folder
from dar.pipeline import load_tokenizer
from dar.sheets import captioned_grid, display_scale


def generate(folder: Path, class_index: int, num: int, seed: int, **drawing: Any) -> Tensor:
    """num x N image tokens; nothing here knows D-AR."""
    llama = AutoModelForCausalLM.from_pretrained(folder)
    vocabulary = AutoTokenizer.from_pretrained(folder)
    prompt = vocabulary([f"<class:{class_index}>"] * num, return_tensors="pt")
    null = vocabulary(["<class:null>"] * num, return_tensors="pt")
    torch.manual_seed(seed)  # transformers draws from the global generator
    sequence = llama.generate(**prompt, negative_prompt_ids=null["input_ids"], **drawing)
    return sequence[:, 1:]  # without the class token


def drawing(own: GenerationSettings, guidance: float | None) -> dict[str, Any]:
    """How tokens are drawn, in the words of transformers, which knows no guidance scale that rises over the tokens."""
    scale = (own.guidance_scale.start + own.guidance_scale.end) / 2 if guidance is None else guidance
    if own.temperature == 0:
        return {"guidance_scale": scale, "do_sample": False}
    likeliest = {"temperature": own.temperature, "top_k": own.top_k or 0, "top_p": own.top_p}
    return {"guidance_scale": scale, "do_sample": True, **likeliest}


def main(
    llama: Annotated[Path, typer.Argument(help="Folder that `dar export llama` wrote.")],
    out: Annotated[Path, typer.Option(help="Picture to write.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="Model whose tokenizer and settings to use; the bundled one by default.")
    ] = None,
    class_index: Annotated[int, typer.Option(help="Which class.")] = 0,
    num: Annotated[int, typer.Option(help="How many images.")] = 4,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; 1 is unguided. By default the mean of the model's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the tokens and of the noise.")] = 0,
) -> None:
    """Draw images of one class."""
    own = load_settings(model_folder(tokenizer))
    tokens = generate(llama, class_index, num, seed, **drawing(own, guidance))
    images = to_images(load_tokenizer(tokenizer).decode(tokens, seed=seed, steps=own.steps, solver=own.solver))
    captions = [f"class {class_index}, image {i}" for i in range(num)]
    save_image(captioned_grid([images], captions=[captions], scale=display_scale(images[0].width)), out)


if __name__ == "__main__":
    typer.run(main)
