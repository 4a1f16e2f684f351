"""Images turned into tokens once, so that the prior trains on tokens alone."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from dar.data import BrokenImage, ImageDataset
from dar.errors import DARError
from dar.images import centre_crop, to_pixels
from dar.storage import load_tensors, open_tensors, save_tensors
from dar.tokenizer import SequentialDiffusionTokenizer

BATCH_SIZE = 128


@dataclass(frozen=True)
class TokenSet:
    """Tokens and classes of M images.

    Attributes:
        tokens: M x N, int32.
        labels: M, int32.
    """

    tokens: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def tokenize(tokenizer: SequentialDiffusionTokenizer, data: ImageDataset, *, flips: bool) -> TokenSet:
    """Tokens of all readable images, centre-cropped; each unreadable one is named, and skipped.

    Args:
        tokenizer: the frozen model.
        data: the images.
        flips: whether each image is followed by its mirror image, as an entry of its own.

    Raises:
        DARError: if no image can be read.
    """
    tokens: list[Tensor] = []
    labels: list[int] = []
    waiting: list[Image.Image] = []
    broken = 0
    for index in tqdm(range(len(data)), desc="tokenizing", unit="image", dynamic_ncols=True):
        try:
            image, label = data.example(index)
        except BrokenImage as error:
            tqdm.write(f"skipped: {error}")
            broken += 1
        else:
            image = centre_crop(image, tokenizer.config.image_size)
            views = [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)] if flips else [image]
            waiting += views
            labels += [label] * len(views)
        if waiting and (len(waiting) >= BATCH_SIZE or index == len(data) - 1):
            tokens.append(tokenizer.encode(to_pixels(waiting)).int().cpu())
            waiting = []
    if broken:
        tqdm.write(f"{broken} of {len(data)} images of {data.source} could not be read and were skipped")
    if not tokens:
        raise DARError(f"none of the {len(data)} images of {data.source} can be read")
    return TokenSet(torch.cat(tokens), torch.tensor(labels, dtype=torch.int32))


def cached_tokens(tokenizer: SequentialDiffusionTokenizer, data: ImageDataset, path: Path, *, flips: bool) -> TokenSet:
    """``tokenize``, or what it wrote to ``path`` before for the same images and weights."""
    origin = {"data": data.fingerprint, "tokenizer": weights_hash(tokenizer), "flips": str(flips)}
    if path.exists():
        with open_tensors(path) as file:
            same = file.metadata() == origin
        if same:
            return TokenSet(**load_tensors(path))
    found = tokenize(tokenizer, data, flips=flips)
    save_tensors(path, {"tokens": found.tokens, "labels": found.labels}, origin)
    return found


def weights_hash(model: torch.nn.Module) -> str:
    """SHA-256 of a model's weights, names and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
