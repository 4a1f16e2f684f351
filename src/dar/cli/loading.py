"""Loading libraries and models without looking for garbage among them."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Stop Python's garbage collection while libraries and models are loaded, and keep them out of it afterwards.

    Importing torch and transformers makes half a million objects that all stay. To look through them again and again
    took 0.8 to 1.1 s of the 4.2 s from a command's start to the first preview (transformers 5.23, torch 2.13).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()
