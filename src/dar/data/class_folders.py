"""Which class each image of a folder belongs to, told by the folders that it lies in."""

from collections import Counter
from collections.abc import Iterable, Sequence

from dar.data.found import Parts, some
from dar.data.splits import split_called, split_within
from dar.errors import DARError


def wrapper_of(files: Sequence[Parts]) -> str | None:
    """The one folder that all others lie in, as an archive leaves it when it is unpacked; None where there is none."""
    top = files[0][0]
    alone = all(len(file) > 2 and file[0] == top for file in files)
    return top if alone and split_called(top) is None else None


def split_folders(name: str, files: Iterable[Parts]) -> dict[str, str] | None:
    """The folders right below, by split; None unless each of them bears the name of one, as ``train`` and ``val``, or
    with equal words around it, as ``train2017`` and ``val2017``.

    Raises:
        DARError: if two are of one split.
    """
    tops = sorted({file[0] if len(file) > 1 else "" for file in files})
    told = [split_within(top) for top in tops]
    if None in told or len({around for _, around in filter(None, told)}) > 1:
        return None
    found: dict[str, str] = {}
    for top, (split, _) in zip(tops, filter(None, told), strict=True):
        if split in found:
            raise DARError(f"{name} has two folders of {split}, {found[split]} and {top}: name the one that is meant")
        found[split] = top
    return found


def class_of_each(name: str, files: Sequence[Parts]) -> list[str] | None:
    """The class of each image; None where all lie right in the folder.

    Classes are the folders right below, whatever is nested in them. Where one of these holds no images itself but
    several folders of them, as ``animals/cat`` and ``animals/dog``, classes are the folders that hold the images.

    Raises:
        DARError: if some images lie beside class folders, or it is not clear which folders are the classes.
    """
    loose = [file for file in files if len(file) == 1]
    if len(loose) == len(files):
        return None
    if loose:
        raise DARError(f"{name} mixes class folders with loose images such as {loose[0][0]}: move these away")
    holding = _outermost({file[:-1] for file in files})
    if not _branching(holding):
        return [file[0] for file in files]
    twice = {leaf for leaf, count in Counter(folder[-1] for folder in holding).items() if count > 1}
    if not twice:
        return [next(file[:i][-1] for i in range(1, len(file)) if file[:i] in holding) for file in files]
    if all(folder[-1] in twice for folder in holding if len(folder) > 1):
        return [file[0] for file in files]
    folders = ["/".join(folder) for folder in holding if folder[-1] in twice]
    raise DARError(
        f"it is not clear which folders of {name} are its classes, since {some(folders)} bear the same names while "
        "others don't: put the images of each class into one folder right below it"
    )


def _outermost(folders: set[Parts]) -> set[Parts]:
    """Folders that do not lie in another of them."""
    return {folder for folder in folders if not any(folder[:i] in folders for i in range(1, len(folder)))}


def _branching(holding: set[Parts]) -> bool:
    """Whether a folder right below holds several folders of images."""
    return max(Counter(folder[0] for folder in holding).values()) > 1
