"""Checked fields of a request: each is read once, and what is left over is refused."""

import base64
import binascii
from collections.abc import Collection, Mapping
from typing import Any

from dar.checks import nearest
from dar.serve.errors import APIError


class Fields:
    """The fields of a JSON object; a field that is null counts as left out.

    Args:
        given: the object.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = {name: value for name, value in given.items() if value is not None}
        self._known: set[str] = set()

    def refuse_others(self) -> None:
        """Make sure that all that was given has been read.

        Raises:
            APIError: for a field that there is not.
        """
        for name in self._given:
            if name not in self._known:
                shown = name[:40]
                raise APIError(
                    400,
                    f"there is no field {shown!r}: {nearest(shown, self._known)}",
                    param=shown,
                    code="unknown_field",
                )

    def ignore(self, *names: str) -> None:
        """Accept fields that mean nothing here."""
        self._known |= set(names)

    def settle(self, name: str, value: Any, by: str) -> None:
        """Give a field the value that another field stands for.

        Raises:
            APIError: if both were given.
        """
        if name in self._given:
            raise APIError(400, f"{by} and {name} were both given: leave one out", param=name)
        self._given[name] = value

    def raw(self, name: str, default: Any = None) -> Any:
        """Read a field of any kind."""
        self._known.add(name)
        return self._given.get(name, default)

    def text(self, name: str, default: str | None = None, *, longest: int = 1000) -> str | None:
        """Read a text."""
        found = self.raw(name, default)
        if found is not None and not isinstance(found, str):
            raise APIError(400, f"{name} must be a text", param=name)
        if found is not None and len(found) > longest:
            raise APIError(400, f"{name} has {len(found)} characters, more than {longest}", param=name)
        return found

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        """Read one of some words."""
        found = self.text(name, default)
        if found not in choices:
            raise APIError(400, f"{name} must be one of {', '.join(choices)}, not {str(found)[:40]!r}", param=name)
        return str(found)

    def integer(self, name: str, default: int | None, least: int, most: int) -> int | None:
        """Read a whole number within limits, both included."""
        found = self.raw(name, default)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
            raise APIError(400, f"{name} must be a whole number from {least} to {most}", param=name)
        return found

    def boolean(self, name: str, default: bool) -> bool:
        """Read true or false."""
        found = self.raw(name, default)
        if not isinstance(found, bool):
            raise APIError(400, f"{name} must be true or false", param=name)
        return found

    def content(self, name: str) -> bytes | None:
        """Read bytes in base64; a data URL will do too."""
        found = self.raw(name)
        if found is None:
            return None
        try:
            return base64.b64decode(found.partition(",")[2] if found.startswith("data:") else found, validate=True)
        except (AttributeError, ValueError, binascii.Error):
            raise APIError(400, f"{name} must be an image file in base64", param=name) from None

    def integers(self, name: str, most: int) -> list[int] | None:
        """Read a list of whole numbers from 0 on, at most so many."""
        found = self.raw(name)
        if found is None:
            return None
        if not isinstance(found, list) or len(found) > most or not all(type(one) is int and one >= 0 for one in found):
            raise APIError(400, f"{name} must be a list of at most {most} whole numbers", param=name)
        return found
