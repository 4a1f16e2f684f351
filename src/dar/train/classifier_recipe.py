"""The recipe of a classifier's training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dar.fields import require_at_least, require_share, require_share_below_1
from dar.train.recipe import OF_CLASSIFIERS, TrainingRecipe
from dar.train.recipe_files import all_names, build, read_recipe, section_of

if TYPE_CHECKING:
    from dar.features.classifier import ClassifierConfig


@dataclass(frozen=True, kw_only=True)
class ClassifierTraining(TrainingRecipe):
    """Settings of a classifier's training.

    Attributes:
        label_smoothing: share of the target that all classes have in common.
        shift: by up to how many pixels images are moved along each axis; black comes in.
        flip: whether to mirror half of the images.
        max_broken_share: share of the images that may be unreadable before a run stops; a handful always may.
        image_column: the column of images, or their ending in tars; empty finds it.
        label_column: the column of labels, or their ending in tars; empty finds it.
    """

    label_smoothing: float = 0.1
    shift: int = 4
    flip: bool = True
    max_broken_share: float = 0.01
    image_column: str = ""
    label_column: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "shift")
        require_share_below_1(self, "label_smoothing")
        require_share(self, "max_broken_share")


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe:
    """Sizes and settings of a classifier's training: everything except the data.

    Attributes:
        classifier: fields of ``ClassifierConfig``, without the class names, which the data have.
        classifier_training: its training.
    """

    classifier: Mapping[str, Any]
    classifier_training: ClassifierTraining

    def __post_init__(self) -> None:
        config, shift = self.config(("any", "other")), self.classifier_training.shift
        if shift >= config.image_size:
            raise ValueError(f"classifier_training: shift {shift} must be less than image_size {config.image_size}")

    def config(self, class_names: Sequence[str]) -> "ClassifierConfig":
        """Make the classifier's configuration for given classes.

        Raises:
            ValueError: for an unknown field, or a value that cannot be.
        """
        from dar.features.classifier import ClassifierConfig  # heavy: names and the training are checked before

        return build(ClassifierConfig, "classifier", {**self.classifier, "class_names": tuple(class_names)})

    def fixed_settings(self) -> dict[str, Any]:
        """List the settings that may not change when a training is resumed, by name."""
        names = ("seed", "batch_size", "shift", "flip", "image_column", "label_column")
        settings = {f"classifier_training.{name}": getattr(self.classifier_training, name) for name in names}
        return settings | {"classifier": self.config(("any", "other"))}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Make a recipe from plain dictionaries; raises ValueError for an impossible value."""
        training = build(ClassifierTraining, "classifier_training", section_of(content, "classifier_training"))
        sections = {"classifier": section_of(content, "classifier"), "classifier_training": training}
        return build(cls, "the recipe", {**content, **sections})


def classifier_recipe_names() -> list[str]:
    """List the recipes of classifiers that the package brings along."""
    return [name for name in all_names() if name.startswith(OF_CLASSIFIERS)]


def load_classifier_recipe(source: str | Path, overrides: Sequence[str] = ()) -> ClassifierRecipe:
    """Read a classifier's recipe; arguments and errors are those of ``dar.train.recipe.read_recipe``."""
    return read_recipe(source, overrides, classifier_recipe_names(), ClassifierRecipe.from_dict)
