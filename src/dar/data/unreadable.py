"""Images that cannot be read: each is named once, and too many stop a run."""

from collections.abc import Collection, Iterable

from dar.errors import DARError
from dar.progress import say

FEW_BROKEN = 10
"""Number of broken images that never stops a run, however few images there are."""


class BrokenImage(DARError):
    """An image of a data set that cannot be read; the message names it."""


class BrokenImages:
    """Counts unreadable images: each is named once, and too many stop the run.

    Args:
        source: what to call the data.
        max_share: the share of the images seen that may be broken; a handful may always be.
    """

    def __init__(self, source: str, max_share: float) -> None:
        self.source, self.max_share = source, max_share
        self.seen = 0
        self.messages: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self.messages)

    def add(self, seen: int, messages: Iterable[str]) -> None:
        """Count ``seen`` further images, with messages about the broken ones among them.

        Raises:
            DARError: if too large a share is broken.
        """
        self.seen += seen
        for message in messages:
            if message not in self.messages:
                self.messages[message] = None
                say(f"skipped, {len(self)} so far: {message}")
        if why := refusal(self.source, self.seen, self.messages, self.max_share):
            raise DARError(why)


def refusal(source: str, seen: int, broken: Collection[str], max_share: float) -> str | None:
    """Explain why a run stops at so many unreadable images; None where it does not.

    Args:
        source: what to call the data.
        seen: images seen so far, broken ones among them.
        broken: messages about these.
        max_share: the share of the images seen that may be broken; a handful may always be.
    """
    if len(broken) > max(FEW_BROKEN, max_share * seen):
        return (
            f"{len(broken)} of the first {seen} images of {source} cannot be read, more than a "
            f"max_broken_share of {max_share:g} allows: mend or remove them, or raise max_broken_share; "
            f"first: {next(iter(broken))}"
        )
    return None
