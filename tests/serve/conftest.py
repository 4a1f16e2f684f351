"""One live server for all tests of this folder."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from openai import OpenAI

from dar.pipeline import DARPipeline
from dar.serve.engine import Engine
from tests.serve.live import serving


@pytest.fixture(scope="session")
def server(pipeline: DARPipeline) -> Iterator[tuple[str, Engine]]:
    with serving(pipeline, slots=8, queue_limit=16) as running:
        yield running


@pytest.fixture(scope="session")
def address(server: tuple[str, Engine]) -> str:
    return server[0]


@pytest.fixture(scope="session")
def connect() -> Iterator[Callable[..., OpenAI]]:
    """Make OpenAI's stock client of an address."""
    with ExitStack() as stack:

        def connect(address: str, api_key: str = "any") -> OpenAI:
            return stack.enter_context(OpenAI(base_url=f"{address}/v1", api_key=api_key, max_retries=0))

        yield connect


@pytest.fixture(scope="session")
def client(address: str, connect: Callable[..., OpenAI]) -> OpenAI:
    return connect(address)
