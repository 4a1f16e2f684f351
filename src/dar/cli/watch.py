"""Progress of generation: pictures in a terminal, a bar, or a line a batch in a log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dar.generation.results import Preview

Watch = Callable[["Preview"], None]
"""Called with a batch after each step."""


@contextmanager
def watching(total: int, steps: int, *, show: bool | None) -> Iterator[Watch]:
    """Show pictures where that is wanted and can be, a bar or lines elsewhere.

    Args:
        total: images in all.
        steps: of denoising.
        show: whether to show pictures; None shows them where the terminal does so well.
    """
    from dar.terminal import PictureScreen, terminal_console

    console = None if show is False else terminal_console(forced=show is True)
    if console is None:
        with _counting(total) as watch:
            yield watch
        return
    with PictureScreen(console, total, steps) as screen:

        def see(preview: "Preview") -> None:
            details = [f"seed {seed}" for seed in preview.seeds]
            screen.show(preview.images, preview.class_names, details, preview.step)

        yield see


@contextmanager
def _counting(total: int) -> Iterator[Watch]:
    from dar.progress import progress_bar

    with progress_bar(total, log_seconds=0) as bar:

        def count(preview: "Preview") -> None:
            if preview.is_final:
                bar.set_postfix_str("", refresh=False)
                bar.update(len(preview.seeds))
            else:
                bar.set_postfix_str(f"denoising step {preview.step}")

        yield count
