"""Where the tokens and labels of a prior's training come from: images that are tokenized first, or saved tokens."""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from dar.data import DataSummary, ImageDataset
from dar.device import as_dtype
from dar.errors import DARError
from dar.storage import weights_hash
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.distributed import Distributed
from dar.train.recipe import DataRecipe, Recipe
from dar.train.token_shards import TokenShards
from dar.train.tokenization import tokenize_images


class TokenSource(Protocol):
    """Labelled images, or their saved tokens."""

    @property
    def name(self) -> str:
        """What the user called it."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a label; empty where there are no classes."""

    @property
    def labels(self) -> Tensor:
        """Class index of each image, negative where it has none."""

    @property
    def summary(self) -> DataSummary | None:
        """What was found of the images; None where only their tokens are known."""

    @property
    def fingerprint(self) -> str:
        """Changes with the images, their labels or their order."""

    def check_made_by(self, tokenizer: SequentialDiffusionTokenizer, called: object) -> None:
        """Make sure that the tokens are those of a tokenizer.

        Args:
            tokenizer: the frozen model.
            called: what the user calls it.

        Raises:
            DARError: if another one made them.
        """

    def tokens(
        self, tokenizer: SequentialDiffusionTokenizer, folder: Path, views: int, distributed: Distributed
    ) -> TokenShards:
        """Get the tokens; where they must be computed first, all processes share the work, and ``folder`` keeps them.

        Args:
            tokenizer: the frozen model.
            folder: for tokens that are computed.
            views: 1, or 2 for mirror images too, of tokens that are computed.
            distributed: the processes.

        Raises:
            DARError: if they can't be computed or written.
        """


class ImagesToTokenize:
    """Images, whose tokens are computed when a training begins.

    Args:
        images: with labels.
        recipe: how they are decoded.
    """

    def __init__(self, images: ImageDataset, recipe: DataRecipe) -> None:
        self.images, self.recipe = images, recipe
        self.name, self.class_names = images.source, images.class_names
        self.labels, self.summary, self.fingerprint = torch.as_tensor(images.labels), images.summary, images.fingerprint

    def check_made_by(self, tokenizer: SequentialDiffusionTokenizer, called: object) -> None:
        """See ``TokenSource``; images fit every tokenizer."""

    def tokens(
        self, tokenizer: SequentialDiffusionTokenizer, folder: Path, views: int, distributed: Distributed
    ) -> TokenShards:
        """See ``TokenSource``."""
        tokenize_images(
            tokenizer,
            self.images,
            folder,
            views=views,
            workers=self.recipe.workers,
            process=distributed.rank,
            processes=distributed.world_size,
            max_broken_share=self.recipe.max_broken_share,
        )
        distributed.barrier()
        return TokenShards(folder)


class SavedTokens:
    """The tokens of images, which ``dar tokenize`` computed earlier.

    Args:
        folder: of the shards.

    Raises:
        DARError: see ``TokenShards``.
    """

    summary = None

    def __init__(self, folder: str | Path) -> None:
        self.name, self.shards = str(folder), TokenShards(folder)
        self.class_names, self.labels = self.shards.manifest.class_names, self.shards.labels
        self.fingerprint = self.shards.manifest.identity

    def check_made_by(self, tokenizer: SequentialDiffusionTokenizer, called: object) -> None:
        """See ``TokenSource``."""
        manifest = self.shards.manifest
        if manifest.tokenizer != weights_hash(tokenizer, as_dtype(manifest.tokenizer_dtype)):
            raise DARError(f"{self.name} was made by another tokenizer than {called}: use that one, or tokenize again")

    def tokens(
        self, tokenizer: SequentialDiffusionTokenizer, folder: Path, views: int, distributed: Distributed
    ) -> TokenShards:
        """See ``TokenSource``."""
        return self.shards


def open_token_source(recipe: Recipe, data: str | Path | None, tokens: str | Path | None) -> TokenSource:
    """Open labelled images or saved tokens, whichever of the two is given.

    Raises:
        DARError: if both or neither are given, they cannot be read, have no classes, or some images have no class and
            the recipe does not give them the null class.
    """
    if (data is None) == (tokens is None):
        raise DARError("a prior is trained on either images or tokens: give one of --data and --tokens")
    source: TokenSource
    if tokens is not None:
        source = SavedTokens(tokens)
    else:
        columns = {"image_column": recipe.data.image_column, "label_column": recipe.data.label_column}
        source = ImagesToTokenize(ImageDataset(str(data), **columns), recipe.data)
    if not source.class_names:
        raise DARError(
            f"{source.name} has no class labels: put the images into a folder for each class, or name the column "
            "that has them by --label-column"
        )
    check_labelled(source, recipe)
    return source


def check_labelled(source: TokenSource, recipe: Recipe) -> None:
    """Make sure that all images have a class, or that the recipe gives the null class to those that have none.

    Raises:
        DARError: if they don't.
    """
    count, unlabelled = len(source.labels), int((source.labels < 0).sum())
    if unlabelled == count:
        raise DARError(f"none of the {count:,} images of {source.name} has a class: use a split that is labelled")
    if unlabelled and not recipe.prior_training.unlabelled_as_null:
        raise DARError(
            f"{unlabelled:,} of the {count:,} images of {source.name} have no class: leave them out, or train on them "
            "as of the null class with prior_training.unlabelled_as_null=true"
        )
