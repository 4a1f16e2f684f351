"""Classes of the images of a folder, named by the folders that they lie in."""

from collections import Counter
from collections.abc import Iterable, Sequence

from dar.data.found import Parts, some
from dar.data.splits import split_called, split_within
from dar.errors import DARError


def wrapper_of(files: Sequence[Parts]) -> str | None:
    """Find the one folder that all others lie in, as unpacking an archive leaves it; None where there is none."""
    top = files[0][0]
    alone = all(len(file) > 2 and file[0] == top for file in files)
    return top if alone and split_called(top) is None else None


def split_folders(name: str, files: Iterable[Parts]) -> dict[str, str] | None:
    """Group the folders right below by split; None unless each bears the name of one.

    Equal words may stand around it, as in ``train2017`` and ``val2017``.

    Raises:
        DARError: if two are of one split.
    """
    tops = sorted({file[0] if len(file) > 1 else "" for file in files})
    splits = [split_within(top) for top in tops]
    if None in splits or len({around for _, around in filter(None, splits)}) > 1:
        return None
    found: dict[str, str] = {}
    for top, (split, _) in zip(tops, filter(None, splits), strict=True):
        if split in found:
            raise DARError(f"{name} has two folders of {split}, {found[split]} and {top}: name the one that is meant")
        found[split] = top
    return found


def class_of_each(name: str, files: Sequence[Parts]) -> list[str] | None:
    """Find the class of each image; None where all lie right in the folder.

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
    shallow = [folder for folder in holding if len(folder) != max(map(len, holding))]
    twice = {leaf for leaf, count in Counter(folder[-1] for folder in holding).items() if count > 1}
    if not twice and not shallow:
        return [file[: len(next(iter(holding)))][-1] for file in files]
    if twice and all(folder[-1] in twice for folder in holding if len(folder) > 1):
        return [file[0] for file in files]
    alike = some("/".join(folder) for folder in holding if folder[-1] in twice)
    why = (
        f"{alike} bear the same names while others don't"
        if twice
        else f"the images of {some(map('/'.join, shallow))} lie less deep than others"
    )
    raise DARError(
        f"it is not clear which folders of {name} are its classes, since {why}: "
        "put the images of each class into one folder right below it"
    )


def notes_on(files: Sequence[Parts], classes: Sequence[str]) -> tuple[str, ...]:
    """Note where folders could be understood in another way than ``class_of_each`` does."""
    nested = next((file for file, name in zip(files, classes, strict=True) if file[0] != name), None)
    if nested is not None:
        return (f"classes are the folders that hold the images, such as {some(['/'.join(nested[:-1])])}",)
    splits = {name for name in classes if split_called(name)}
    others = set(classes) - splits
    if not splits or not others:
        return ()
    return (f"{some(splits)} taken for a class, since {some(others)} bears no name of a split",)


def _outermost(folders: set[Parts]) -> set[Parts]:
    """Keep the folders that do not lie in another of them."""
    return {folder for folder in folders if not any(folder[:i] in folders for i in range(1, len(folder)))}


def _branching(holding: set[Parts]) -> bool:
    """Tell whether a folder right below holds several folders of images."""
    return max(Counter(folder[0] for folder in holding).values()) > 1
