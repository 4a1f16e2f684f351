"""What the API answers to odd requests."""

import asyncio
import json
import threading
from typing import Any

import pytest
from openai import OpenAI

from dar.pipeline import DARPipeline
from dar.serve import service as service_module
from tests.serve.live import request, serving


@pytest.mark.parametrize(
    "name",
    [
        "model",
        "n",
        "size",
        "quality",
        "background",
        "output_format",
        "output_compression",
        "response_format",
        "stream",
        "partial_images",
    ],
)
def test_null_means_left_out(client: OpenAI, name: str) -> None:
    """OpenAI's types let each of these be null."""
    assert client.images.generate(prompt="cat", **{name: None}).data


@pytest.mark.parametrize("content", ["²", "\uff16", "-1", "1.0", " cat", "1e0", "\ud800", "a" * 999, "1_0"])
def test_odd_prompts_are_answered(address: str, content: str) -> None:

    body = json.dumps({"prompt": content})
    found = request(address, "POST", "/v1/images/generations", body.encode())
    assert found.status in (200, 400)


@pytest.mark.parametrize("name", ["temperature", "top_p", "guidance_scale", "top_k", "seed", "num_inference_steps"])
@pytest.mark.parametrize("value", ["1e999", "-1e999", "1e38", "1e-320", "[]", "{}", "true", "[[1]]", '"1:1e39"'])
def test_odd_values_are_answered(address: str, name: str, value: str) -> None:

    body = f'{{"prompt": "cat", "{name}": {value}}}'
    found = request(address, "POST", "/v1/images/generations", body.encode())
    assert found.status in (200, 400), found.text


def test_a_mistake_of_the_server_bears_the_request_id(
    pipeline: DARPipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service_module.Service, "model", lambda service: 1 / 0)
    with serving(pipeline) as (address, _):
        found = request(address, "GET", "/v1/models", **{"x-request-id": "mine"})
    assert found.status == 500
    assert found.json()["error"]["type"] == "server_error"
    assert found.headers.get("x-request-id") == "mine"


def test_more_images_than_there_can_ever_be_room_for_are_not_worth_a_retry(pipeline: DARPipeline) -> None:
    with serving(pipeline, slots=1, queue_limit=2) as (address, _):
        found = request(address, "POST", "/v1/images/generations", json.dumps({"prompt": "cat", "n": 10}).encode())
    assert found.status == 400
    assert found.json()["error"]["param"] == "n"


@pytest.mark.parametrize(
    "body",
    [
        '{"prompt": "cat", "a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"prompt": "cat", "seed": ' + "9" * 100_000 + "}",
        '{"prompt": "cat", "prompt": "cat", "seed": -0}',
        "\ufeff{}",
        '{"prompt": "cat", "layout": "data:image/png;base64,AAAA", "layout_tokens": 1}',
        '{"prompt": "cat", "layout": "é", "layout_tokens": 1}',
        '{"prompt": "cat", "kept_tokens": [0, 99]}',
        '{"prompt": "cat", "kept_tokens": []}',
        '{"prompt": "cat", "guidance_scale": "1:2@0-99"}',
        '{"prompt": "cat", "guidance_scale": {"1": 2}}',
        '{"prompt": "cat", "guidance_scale": [1, 2, [0, 1e9]]}',
        '{"prompt": "cat", "guidance_scale": [1, 2, [null, null]]}',
        '{"prompt": "cat", "quality": "low", "num_inference_steps": 4}',
        '{"prompt": "cat", "\\ud800": 4}',
    ],
    ids=lambda body: body[:60],
)
@pytest.mark.parametrize("route", ["images/generations", "dar/stream"])
def test_odd_bodies_are_answered_in_words(address: str, body: str, route: str) -> None:
    if route == "dar/stream":
        body = body.replace('"prompt"', '"class"')
    found = request(address, "POST", f"/v1/{route}", body.encode())
    assert found.status in (200, 400), found.text
    if found.status == 400:
        error: dict[str, Any] = found.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
    elif route == "images/generations":
        assert json.loads(found.text)["data"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/images/generations"),
        ("POST", "/v1/models"),
        ("GET", "/v1/models/%00"),
        ("GET", "/v1/models/a/../b"),
        ("GET", "/nothing"),
        ("GET", "/page/../../engine.py"),
        ("GET", "/page/%2e%2e/engine.py"),
        ("GET", "/page/nul%00"),
        ("POST", "/v1/images/variations"),
        ("DELETE", "/v1/images/generations"),
        ("HEAD", "/health"),
    ],
)
def test_odd_addresses_are_refused_in_shape(address: str, method: str, path: str) -> None:
    found = request(address, method, path)
    assert found.status in (200, 404, 405)
    assert found.headers["x-request-id"]
    if method != "HEAD":
        assert set(found.json()["error"]) == {"message", "type", "param", "code"}


def test_a_stream_that_is_dropped_at_once_leaks_no_slot(pipeline: DARPipeline) -> None:
    async def drop(address: str, after: float) -> None:
        host, port = address.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        body = b'{"class": "cat", "num_inference_steps": 1000}'
        head = f"POST /v1/dar/stream HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        writer.write(head + body)
        await writer.drain()
        await asyncio.sleep(after)
        writer.transport.abort()

    async def all_of(address: str) -> None:
        await asyncio.gather(*(drop(address, i / 500) for i in range(12)))

    with serving(pipeline, slots=4, queue_limit=30) as (address, engine):
        asyncio.run(all_of(address))
        ended = threading.Event()
        for _ in range(100):
            if not engine.running + engine.waiting:
                ended.set()
                break
            threading.Event().wait(0.05)
        assert ended.is_set()
