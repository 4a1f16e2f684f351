"""Image tokens from transformers alone, pixels from the tokenizer alone.

dar export llama --out llama/
python examples/plain_transformers.py llama/ --class-index 8 --guidance 3 --out ships.png
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from dar.generation.settings import load_settings
from dar.images import save_image, to_images
from dar.model_folder import model_folder
from dar.pipeline import load_tokenizer
from dar.sheets import captioned_grid, display_scale


def generate(folder: Path, class_index: int, num: int, guidance: float, seed: int) -> Tensor:
    """num x N image tokens; nothing here knows D-AR."""
    llama = AutoModelForCausalLM.from_pretrained(folder)
    vocabulary = AutoTokenizer.from_pretrained(folder)
    prompt = vocabulary([f"<class:{class_index}>"] * num, return_tensors="pt")
    null = vocabulary(["<class:null>"] * num, return_tensors="pt")
    torch.manual_seed(seed)  # transformers draws from the global generator
    sequence = llama.generate(**prompt, guidance_scale=guidance, negative_prompt_ids=null["input_ids"])
    return sequence[:, 1:]  # without the class token


def main(
    llama: Annotated[Path, typer.Argument(help="Folder that `dar export llama` wrote.")],
    out: Annotated[Path, typer.Option(help="Picture to write.")],
    tokenizer: Annotated[str | None, typer.Option(help="Model whose tokenizer to use; the bundled one's.")] = None,
    class_index: Annotated[int, typer.Option(help="Which class.")] = 0,
    num: Annotated[int, typer.Option(help="How many images.")] = 4,
    guidance: Annotated[float, typer.Option(help="Guidance scale; 1 is unguided.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Of the tokens and of the noise.")] = 0,
) -> None:
    """Draw images of one class."""
    tokens = generate(llama, class_index, num, guidance, seed)
    solver = load_settings(model_folder(tokenizer)).solver  # the model's own
    images = to_images(load_tokenizer(tokenizer).decode(tokens, seed=seed, solver=solver))
    captions = [f"class {class_index}, image {i}" for i in range(num)]
    save_image(captioned_grid([images], captions=[captions], scale=display_scale(images[0].width)), out)


if __name__ == "__main__":
    typer.run(main)
