"""Sizes, vocabulary and classes of a prior."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dar.checks import spelled_number
from dar.errors import DARError, quoted
from dar.fields import check_sizes, require_names

if TYPE_CHECKING:
    from dar.prior.classes import Class, Classes


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """A Llama over one vocabulary: image tokens 0 to V - 1, then a token for each class, then the null class.

    The defaults are those of the published prior L. The sequence is [class token, z_1 ... z_N].

    Attributes:
        class_names: one name a class, in the order of the class indices.
        codebook_size: V, image tokens.
        num_tokens: N, image tokens of an image.
        width: D, a multiple of twice the number of heads.
        depth: layers.
        num_heads: attention heads.
        mlp_width: inner width of the SwiGLU.
        rope_theta: base of the rotary frequencies.
        norm_eps: added inside each RMSNorm.

    Raises:
        ValueError: at construction, naming the value that cannot be.
    """

    class_names: tuple[str, ...]
    codebook_size: int = 16384
    num_tokens: int = 256
    width: int = 1024
    depth: int = 24
    num_heads: int = 16
    mlp_width: int = 2816
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if isinstance(self.class_names, str):
            raise ValueError("class_names must be a list of names, not one text")
        object.__setattr__(self, "class_names", tuple(self.class_names))  # JSON knows no tuples
        require_names(self, "class_names", 1)
        check_sizes(self)
        if self.width % (2 * self.num_heads):
            raise ValueError(f"width {self.width} is not a multiple of twice the {self.num_heads} heads")

    @property
    def num_classes(self) -> int:
        """Number of classes, the null class not counted."""
        return len(self.class_names)

    @property
    def null_class(self) -> int:
        """Index of the null class, which stands for "no class given" in guidance and in training."""
        return self.num_classes

    @property
    def vocab_size(self) -> int:
        """Number of image tokens, class tokens and the null class's token together."""
        return self.codebook_size + self.num_classes + 1

    def class_indices(self, wanted: "Classes") -> list[int]:
        """Find the indices of classes given by names, indices or both; of a single class, a list of one.

        Raises:
            DARError: for an empty list, or an entry that ``class_index`` refuses.
        """
        entries: Any = wanted
        if _is_array(entries):
            entries = entries.tolist()
        is_single = isinstance(entries, str | bytes) or not isinstance(entries, Iterable)
        entries = [entries] if is_single else list(entries)
        if not entries:
            raise DARError("classes must be a list with at least one class name or index, not []")
        return [self.class_index(entry) for entry in entries]

    def class_index(self, wanted: "Class") -> int:
        """Find the index of a class by name or index; case and the choice of space, underscore or hyphen don't matter.

        Raises:
            DARError: for an unknown name (with the nearest matches), one that several classes bear, an index out of
                range, or what is neither.
        """
        index: Any = wanted
        if _is_array(wanted) and index.ndim == 0:
            index = index.item()
        if isinstance(index, str):
            index = self._index_of(index)
        if not isinstance(index, int) or isinstance(index, bool):
            raise DARError(f"a class is a name or a whole number, not {quoted(repr(index))}")
        if not 0 <= index < self.num_classes:
            raise DARError(f"class index {index} is out of range: this model has classes 0 to {self.num_classes - 1}")
        return index

    def _index_of(self, name: str) -> int:
        """Find the class of exactly this name, or of the number that it spells."""
        exact = [i for i, known in enumerate(self.class_names) if known == name]
        matches = exact or [i for i, known in enumerate(self.class_names) if _plain(known) == _plain(name)]
        if len(matches) > 1:
            raise DARError(f"several classes are named {name!r}: give an index of {matches}")
        if matches:
            return matches[0]
        index = spelled_number(name.strip())
        if index is None:
            raise DARError(f"there is no class {quoted(repr(name))}; {self._suggestion(name)}")
        return index

    def _suggestion(self, wanted: str) -> str:
        names = {_plain(name): name for name in self.class_names}
        containing = [plain for plain in names if _plain(wanted) and _plain(wanted) in plain.split()]
        near = containing or difflib.get_close_matches(_plain(wanted), names, n=3, cutoff=0.5)
        if near:
            return f"did you mean {' or '.join(names[plain] for plain in near[:3])}?"
        shown = ", ".join(self.class_names[:10])
        return f"the classes are {shown}{', ...' if self.num_classes > 10 else ''}"


PRIOR_SIZES = MappingProxyType(
    {
        "B": {"width": 768, "depth": 12, "num_heads": 12, "mlp_width": 2048},
        "L": {"width": 1024, "depth": 24, "num_heads": 16, "mlp_width": 2816},
        "XL": {"width": 1280, "depth": 36, "num_heads": 20, "mlp_width": 3584},
        "XXL": {"width": 1536, "depth": 48, "num_heads": 24, "mlp_width": 4096},
    }
)
"""Published sizes: 111 M, 343 M, 775 M and 1.4 B parameters."""


def _is_array(thing: Any) -> bool:
    """Tell whether a value is an array, tensor or scalar of NumPy, torch or the like, without importing any."""
    return hasattr(thing, "tolist") and hasattr(thing, "ndim")


def _plain(name: Any) -> str:
    return " ".join(str(name).lower().replace("_", " ").replace("-", " ").split())
