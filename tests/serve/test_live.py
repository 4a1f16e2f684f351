"""OpenAI's stock client against a live server."""

import base64
import io
import json
import socket
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import numpy as np
import openai
import pytest
from openai import OpenAI
from PIL import Image

from dar.images import to_images
from dar.pipeline import DARPipeline
from dar.serve.jobs import Job
from dar.serve.service import ServerOptions
from tests.serve.live import request, serving

Connect = Callable[..., OpenAI]


def pixels(b64: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(b64))).convert("RGB")).astype(int)


def expected(pipe: DARPipeline, wanted: object, **settings: object) -> list[np.ndarray]:
    return [np.asarray(image).astype(int) for image in pipe(wanted, **settings).images]


def assert_alike(b64: str, image: np.ndarray) -> None:
    """But for rounding to another level."""
    assert abs(pixels(b64) - image).max() <= 1


def ask(address: str, body: object, path: str = "/v1/images/generations", **headers: str) -> tuple[int, Any, dict]:
    """Post a body, as bytes or as JSON; return status, answer and headers."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = request(address, "POST", path, content, **{"content-type": "application/json"} | headers)
    return reply.status, reply.json(), reply.headers


def events(address: str, body: dict) -> list[dict]:
    reply = request(address, "POST", "/v1/dar/stream", json.dumps(body).encode())
    assert reply.status == 200, reply.text
    return [json.loads(line[6:]) for line in reply.text.split("\n") if line.startswith("data: ")]


def test_an_image_is_that_of_the_pipeline(client: OpenAI, pipeline: DARPipeline) -> None:
    made = client.images.generate(prompt="great dane", n=3, extra_body={"seed": 4, "guidance_scale": "1:2"})
    for found, image in zip(made.data, expected(pipeline, [1] * 3, seed=4, guidance_scale=(1.0, 2.0)), strict=True):
        assert_alike(found.b64_json, image)
    assert [found.dar["seed"] for found in made.data] == [4, 5, 6]
    assert (made.size, made.quality, made.output_format, made.background) == ("16x16", "medium", "png", "opaque")
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (1, 24, 25)


def test_all_settings_reach_the_image(client: OpenAI, pipeline: DARPipeline) -> None:
    settings = {"temperature": 0.7, "top_k": 9, "top_p": 0.8, "guidance_scale": 2}
    made = client.images.generate(prompt="2", extra_body={"seed": 1, "num_inference_steps": 3, **settings})
    assert_alike(made.data[0].b64_json, expected(pipeline, 2, seed=1, steps=3, **settings)[0])


@pytest.mark.parametrize(("quality", "steps"), [("low", 2), ("standard", 4), ("hd", 8)])
def test_quality_chooses_the_steps(client: OpenAI, quality: Any, steps: int) -> None:
    made = client.images.generate(prompt="cat", quality=quality)
    assert made.data[0].dar["num_inference_steps"] == steps
    assert made.quality == quality


def test_partial_images_are_states_of_the_image(client: OpenAI, pipeline: DARPipeline) -> None:
    stream = client.images.generate(prompt="cat", stream=True, partial_images=3, extra_body={"seed": 9})
    *partial, last = list(stream)
    previews = list(pipeline.stream("cat", seed=9))
    assert [event.partial_image_index for event in partial] == [0, 1, 2]
    assert last.type == "image_generation.completed"
    assert last.usage.total_tokens == 9
    for event, preview in zip([*partial, last], previews, strict=True):
        assert_alike(event.b64_json, np.asarray(preview.images[0]).astype(int))


def test_several_images_may_be_streamed(client: OpenAI) -> None:
    found = list(client.images.generate(prompt="cat", n=2, stream=True, partial_images=1, extra_body={"seed": 3}))
    completed = [event for event in found if event.type == "image_generation.completed"]
    assert sorted(event.dar["image_index"] for event in completed) == [0, 1]
    assert len(found) == 4


def test_a_seed_is_drawn_and_told(client: OpenAI) -> None:
    first, second = (client.images.generate(prompt="cat").data[0] for _ in range(2))
    assert first.dar["seed"] != second.dar["seed"]
    again = client.images.generate(prompt="cat", extra_body={"seed": first.dar["seed"]}).data[0]
    assert abs(pixels(again.b64_json) - pixels(first.b64_json)).max() <= 1


@pytest.mark.parametrize(("output", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_formats(client: OpenAI, output: Any, kind: str) -> None:
    made = client.images.generate(prompt="cat", output_format=output)
    assert Image.open(io.BytesIO(base64.b64decode(made.data[0].b64_json))).format == kind


def test_compression_makes_files_smaller(client: OpenAI) -> None:
    sizes = [
        len(
            client.images.generate(prompt="cat", output_format="jpeg", output_compression=level, extra_body={"seed": 1})
            .data[0]
            .b64_json
        )
        for level in (10, 95)
    ]
    assert sizes[0] < sizes[1]


def test_a_layout_is_kept(client: OpenAI, pipeline: DARPipeline) -> None:
    picture = Image.fromarray(np.random.RandomState(0).randint(0, 256, (20, 30, 3), dtype=np.uint8))
    file = io.BytesIO()
    picture.save(file, "PNG")
    layout = {"layout": base64.b64encode(file.getvalue()).decode(), "layout_tokens": 5, "seed": 2}
    made = client.images.generate(prompt="cat", extra_body=layout)
    assert_alike(made.data[0].b64_json, expected(pipeline, "cat", layout=picture, layout_tokens=5, seed=2)[0])
    assert made.usage.input_tokens == 6


def test_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "dar"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("dall-e-3")


@pytest.mark.parametrize(
    ("arguments", "param", "code"),
    [
        ({"prompt": "catt"}, "prompt", "invalid_class"),
        ({"prompt": "99"}, "prompt", "invalid_class"),
        ({"prompt": ""}, "prompt", "invalid_value"),
        ({"n": 11}, "n", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"size": "1024x1024"}, "size", "invalid_value"),
        ({"background": "transparent"}, "background", "invalid_value"),
        ({"response_format": "url"}, "response_format", "invalid_value"),
        ({"output_compression": 50}, "output_compression", "invalid_value"),
        ({"partial_images": 2}, "partial_images", "invalid_value"),
        ({"stream": True, "partial_images": 4}, "partial_images", "invalid_value"),
        ({"extra_body": {"temperature": -1}}, "temperature", "invalid_value"),
        ({"extra_body": {"temperature": "hot"}}, "temperature", "invalid_value"),
        ({"extra_body": {"top_k": 0}}, "top_k", "invalid_value"),
        ({"extra_body": {"top_p": 2}}, "top_p", "invalid_value"),
        ({"extra_body": {"seed": -1}}, "seed", "invalid_value"),
        ({"extra_body": {"seed": 1.5}}, "seed", "invalid_value"),
        ({"extra_body": {"num_inference_steps": True}}, "num_inference_steps", "invalid_value"),
        ({"quality": "low", "extra_body": {"num_inference_steps": 3}}, "num_inference_steps", "invalid_value"),
        ({"extra_body": {"guidance_scale": "much"}}, "guidance_scale", "invalid_value"),
        ({"extra_body": {"guidance_scale": "1:2@0-99"}}, "guidance_scale", "invalid_value"),
        ({"extra_body": {"layout_tokens": 3}}, "layout", "invalid_value"),
        ({"extra_body": {"layout": "aGk=", "layout_tokens": 3}}, "layout", "invalid_value"),
        ({"extra_body": {"layout": "/etc/passwd", "layout_tokens": 3}}, "layout", "invalid_value"),
        ({"extra_body": {"layout": 3, "layout_tokens": 3}}, "layout", "invalid_value"),
        ({"extra_body": {"kept_tokens": [99]}}, "kept_tokens", "invalid_value"),
        ({"extra_body": {"kept_tokens": [1] * 9}}, "kept_tokens", "invalid_value"),
        ({"extra_body": {"watermark": True}}, "watermark", "unknown_field"),
    ],
)
def test_what_cannot_be_is_refused_by_name(client: OpenAI, arguments: dict, param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(**{"prompt": "cat"} | arguments)
    assert (refused.value.param, refused.value.code, refused.value.type) == (param, code, "invalid_request_error")
    assert refused.value.request_id


def test_another_model_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="this server has 'tiny'"):
        client.images.generate(prompt="cat", model="dall-e-3")


def test_ignored_fields_are_accepted(client: OpenAI) -> None:
    assert client.images.generate(prompt="cat", user="me", moderation="low", style="vivid").data


def test_edits_say_that_they_do_not_exist(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as refused:
        client.images.edit(image=b"", prompt="cat")
    assert refused.value.status_code == 501
    assert refused.value.code == "not_implemented"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[1]", 400),
        (b"\xff\xfe", 400),
        (b'{"prompt": "cat", "temperature": NaN}', 400),
        (b'{"prompt": "cat", "seed": ' + b"9" * 5000 + b"}", 400),
        (b'{"a":' * 100_000, 400),
        (b'{"prompt": "' + b"x" * 2**20 + b'"}', 413),
    ],
)
def test_bodies_that_cannot_be_are_refused(pipeline: DARPipeline, body: bytes, status: int) -> None:
    with serving(pipeline, ServerOptions(largest_body=2**20)) as (address, _):
        found, answer, _ = ask(address, body)
        assert found == status
        assert answer["error"]["message"]
        assert ask(address, {"prompt": "cat"})[0] == 200


def test_every_preview_is_streamed_with_its_tokens(address: str, pipeline: DARPipeline) -> None:
    found = events(address, {"class": 2, "seed": 8, "num_inference_steps": 6})
    assert [event["type"] for event in found] == ["dar.preview"] * 5 + ["dar.completed"]
    for event, preview in zip(found, pipeline.stream(2, seed=8, steps=6), strict=True):
        assert event["tokens"] == preview.tokens[0].tolist()
        assert_alike(event["b64_png"], np.asarray(to_images(preview.pixels)[0]).astype(int))


def test_a_variation_keeps_tokens(address: str) -> None:
    first = events(address, {"class": "cat", "seed": 1})[-1]
    varied = events(address, {"class": "great dane", "seed": 1, "kept_tokens": first["tokens"][:4]})[-1]
    assert varied["tokens"][:4] == first["tokens"][:4]
    assert (varied["class"], varied["seed"]) == ("great dane", 1)


def test_the_model_describes_itself(address: str) -> None:
    connection = HTTPConnection(address.removeprefix("http://"))
    connection.request("GET", "/v1/dar/model")
    found = json.loads(connection.getresponse().read())
    assert found["classes"] == ["cat", "great dane", "sea_lion"]
    assert (found["num_tokens"], found["num_groups"], found["steps"]["default"]) == (8, 4, 4)
    connection.close()


def get(address: str, path: str, **headers: str) -> tuple[int, str, dict]:
    connection = HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return found


def test_probes_and_metrics(address: str, client: OpenAI) -> None:
    assert client.images.generate(prompt="cat")
    assert get(address, "/health")[0] == get(address, "/ready")[0] == 200
    metrics = get(address, "/metrics")[1]
    for name in ("num_requests_running", "num_requests_waiting", "e2e_request_latency_seconds_bucket"):
        assert f"dar:{name}" in metrics
    assert 'dar:requests_success_total{finished_reason="stop"}' in metrics


def test_the_page_needs_nothing_from_elsewhere(address: str) -> None:
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        status, text, headers = get(address, path)
        assert (status, headers["content-type"].partition(";")[0]) == (200, kind)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "http://" not in text
        assert "https://" not in text
    for path in ("/page", "/../app.py", "/page/__init__.py", "/%2e%2e/app.py"):
        assert get(address, path)[0] == 404


def test_request_ids_come_back(address: str) -> None:
    assert ask(address, {"prompt": "cat"}, **{"x-request-id": "mine-1"})[2]["x-request-id"] == "mine-1"
    made = ask(address, {"prompt": "cat"}, **{"x-request-id": "a" * 200})[2]["x-request-id"]
    assert len(made) == 32


def test_a_full_queue_is_told_and_retried(connect: Connect, pipeline: DARPipeline) -> None:
    with serving(pipeline, slots=1, queue_limit=1) as (address, engine):
        client, long = connect(address), Job(0, 0, pipeline.resolved({"steps": 1000}))
        tickets = engine.submit([long] * 2, [lambda event: None] * 2)
        with pytest.raises(openai.RateLimitError) as refused:
            client.images.generate(prompt="cat")
        assert refused.value.code == "slow_down"
        assert int(refused.value.response.headers["retry-after"]) >= 1
        with pytest.raises(openai.RateLimitError):
            list(client.images.generate(prompt="cat", stream=True))
        timer = threading.Timer(0.5, lambda: [ticket.cancel() for ticket in tickets])
        timer.start()
        assert client.with_options(max_retries=5).images.generate(prompt="cat").data
        timer.join()
        assert 'dar:admission_rejections_total{reason="queue_full"}' in get(address, "/metrics")[1]


def test_draining_finishes_what_was_accepted(connect: Connect, pipeline: DARPipeline) -> None:
    with serving(pipeline, slots=1) as (address, engine):
        client, found = connect(address), []
        asking = threading.Thread(target=lambda: found.append(client.images.generate(prompt="cat", n=8)))
        asking.start()
        wait_for(lambda: engine.running > 0)
        draining = threading.Thread(target=engine.drain)
        draining.start()
        wait_for(lambda: engine.draining)
        with pytest.raises(openai.InternalServerError) as refused:
            client.images.generate(prompt="cat")
        assert (refused.value.status_code, refused.value.code) == (503, "server_is_overloaded")
        assert get(address, "/ready")[0] == 503
        assert get(address, "/health")[0] == 200
        asking.join()
        draining.join()
        assert len(found[0].data) == 8


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert condition()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_slots(pipeline: DARPipeline, stream: bool) -> None:
    with serving(pipeline, slots=2, queue_limit=1000) as (address, engine):
        host, port = address.removeprefix("http://").split(":")
        body = json.dumps({"prompt": "cat", "n": 10, "stream": stream, "num_inference_steps": 1000}).encode()
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /v1/images/generations HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            wait_for(lambda: engine.running > 0)
        wait_for(lambda: engine.running == engine.waiting == 0)
        assert ask(address, {"prompt": "cat"})[0] == 200
        assert 'finished_reason="abort"' in get(address, "/metrics")[1]


def test_a_key_is_needed_where_there_is_one(connect: Connect, pipeline: DARPipeline) -> None:
    with serving(pipeline, ServerOptions(model_id="tiny", api_key="secret-ß")) as (address, _):
        with pytest.raises(openai.AuthenticationError) as refused:
            connect(address, "secret").images.generate(prompt="cat")
        assert refused.value.code == "invalid_api_key"
        assert get(address, "/metrics")[0] == 401
        assert get(address, "/health")[0] == get(address, "/")[0] == 200
        authorization = "Bearer secret-ß".encode().decode("latin-1")
        assert get(address, "/v1/models", authorization=authorization)[0] == 200


def test_an_image_that_takes_too_long_is_given_up(pipeline: DARPipeline) -> None:
    with serving(pipeline, ServerOptions(timeout=0.05)) as (address, engine):
        status, answer, _ = ask(address, {"prompt": "cat", "n": 10, "num_inference_steps": 1000})
        assert (status, answer["error"]["code"]) == (504, "timeout")
        wait_for(lambda: engine.running == engine.waiting == 0)


def test_failures_are_told_in_the_stream(
    connect: Connect, pipeline: DARPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dar.generation.state import GenerationState

    with serving(pipeline) as (address, _):
        client = connect(address)
        monkeypatch.setattr(GenerationState, "draw", lambda state: 1 / 0)
        with pytest.raises(openai.APIError) as failed:
            list(client.images.generate(prompt="cat", stream=True))
        assert failed.value.code == "internal_error"
        with pytest.raises(openai.InternalServerError):
            client.images.generate(prompt="cat")


def test_other_pages_may_ask_only_if_told(pipeline: DARPipeline, address: str) -> None:
    origin = {"origin": "http://pictures.example"}
    assert "access-control-allow-origin" not in get(address, "/v1/models", **origin)[2]
    with serving(pipeline, ServerOptions(allowed_origins=("http://pictures.example",))) as (other, _):
        allowed = get(other, "/v1/models", **origin)[2]
        assert allowed["access-control-allow-origin"] == "http://pictures.example"
