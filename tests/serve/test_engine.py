"""One engine serves many clients, and none of them notices the others."""

import threading
import time
from collections.abc import Iterator, Sequence

import pytest
import torch

from dar.errors import DARError
from dar.generation.settings import GenerationSettings
from dar.generation.state import Denoised, GenerationState
from dar.pipeline import DARPipeline
from dar.serve.engine import Engine
from dar.serve.jobs import Cancelled, Draining, Event, Failed, Finished, Job, Previewed, QueueFull, Started

SETTINGS = GenerationSettings(guidance_scale=2.0, steps=4)
LONG = 30.0


class Client:
    """Collects the events of one job."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ended = threading.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Finished | Failed | Cancelled):
            self.ended.set()

    @property
    def last(self) -> Event:
        assert self.ended.wait(LONG)
        return self.events[-1]


def wait_until_ready(engine: Engine) -> None:
    deadline = time.monotonic() + LONG
    while not engine.ready and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.ready


@pytest.fixture
def engine(pipeline: DARPipeline) -> Iterator[Engine]:
    engine = Engine(pipeline, slots=3, queue_limit=4)
    engine.start()
    wait_until_ready(engine)
    yield engine
    engine.close()


def submit(engine: Engine, jobs: Sequence[Job]) -> list[Client]:
    clients = [Client() for _ in jobs]
    engine.submit(jobs, clients)
    return clients


def jobs(count: int, **changes: object) -> list[Job]:
    return [Job(**{"class_index": i % 3, "seed": i, "settings": SETTINGS} | changes) for i in range(count)]


def assert_right(job: Job, event: Event, pipe: DARPipeline) -> None:
    assert isinstance(event, Finished)
    kept = {"kept_tokens": list(job.prefix)} if job.prefix else {}
    wanted = pipe([job.class_index], seed=job.seed, **kept, **job.settings.values())
    torch.testing.assert_close(event.pixels, wanted.pixels[0], rtol=0, atol=1e-4)
    assert list(event.tokens) == wanted.tokens[0].tolist()


def test_images_are_those_of_the_pipeline(engine: Engine) -> None:
    wanted = [
        *jobs(3, previews=True),
        *jobs(2, settings=GenerationSettings(guidance_scale=1, steps=6, solver="euler")),
        *jobs(2, class_index=1, prefix=(3, 1, 4)),
    ]
    for job, client in zip(wanted, submit(engine, wanted), strict=True):
        assert_right(job, client.last, engine.pipe)
        assert isinstance(client.events[0], Started)
        previews = client.events[1:-1]
        assert all(isinstance(one, Previewed) for one in previews)
        assert [one.step for one in previews] == ([1, 2, 3] if job.previews else [])


def test_previews_are_those_of_a_stream(engine: Engine) -> None:
    (client,) = submit(engine, jobs(1, previews=True))
    assert client.last
    for told, preview in zip(client.events[1:-1], engine.pipe.stream([0], seed=0, **SETTINGS.values()), strict=False):
        torch.testing.assert_close(told.pixels, preview.pixels[0], rtol=0, atol=1e-4)
        assert list(told.tokens) == preview.tokens[0].tolist()
        assert (told.step, told.num_steps) == (preview.step, preview.num_steps)


def test_previews_do_not_tell_of_tokens_drawn_while_they_waited(engine: Engine) -> None:
    begun, (first,) = threading.Event(), jobs(1, previews=True)
    client = Client()
    engine.submit([first], [lambda event: (client(event), begun.set())])
    begun.wait(LONG)
    wanted = [first, *jobs(2, class_index=1, previews=True, prefix=(3, 1, 4))]
    clients = [client, *submit(engine, wanted[1:])]
    for job, one in zip(wanted, clients, strict=True):
        assert one.last
        kept = {"kept_tokens": list(job.prefix)} if job.prefix else {}
        stream = engine.pipe.stream([job.class_index], seed=job.seed, **kept, **SETTINGS.values())
        previews = [event for event in one.events if isinstance(event, Previewed)]
        for told, preview in zip(previews, stream, strict=False):
            assert list(told.tokens) == preview.tokens[0].tolist()


def test_images_share_calls_of_the_network(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    denoise, rows = GenerationState.denoise, []

    def noted(state: GenerationState) -> Denoised:
        found = denoise(state)
        rows.append(len(found.rows))
        return found

    monkeypatch.setattr(GenerationState, "denoise", noted)
    assert all(client.last for client in submit(engine, jobs(3)))
    assert rows == [3] * 4


def test_jobs_are_accepted_all_or_none(engine: Engine) -> None:
    with pytest.raises(QueueFull) as refused:
        submit(engine, jobs(8))
    assert refused.value.retry_after >= 1
    assert engine.waiting == engine.running == 0
    assert all(client.last for client in submit(engine, jobs(7)))


def test_a_cancelled_job_leaves_and_harms_no_other(engine: Engine) -> None:
    wanted, clients = jobs(5), [Client() for _ in range(5)]
    tickets = engine.submit(wanted, clients)
    tickets[1].cancel()
    tickets[4].cancel()
    for i, (job, client) in enumerate(zip(wanted, clients, strict=True)):
        if i in (1, 4):
            assert isinstance(client.last, Cancelled | Finished)
        else:
            assert_right(job, client.last, engine.pipe)
    assert engine.drain(LONG)
    assert engine.running == 0


def test_a_slot_is_free_within_a_token_step(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, held, going = GenerationState.draw, threading.Event(), threading.Event()
    draws = []

    def draw(state: GenerationState) -> None:
        held.set()
        assert going.wait(LONG)
        draws.append(len(state))
        drawn(state)

    monkeypatch.setattr(GenerationState, "draw", draw)
    clients = [Client() for _ in range(2)]
    tickets = engine.submit(jobs(2), clients)
    assert held.wait(LONG)
    tickets[0].cancel()  # while a token is drawn
    going.set()
    assert isinstance(clients[0].last, Cancelled)
    assert isinstance(clients[1].last, Finished)
    assert draws.count(2) <= 1
    assert 1 in draws


def test_a_step_that_fails_ends_its_images_and_not_the_engine(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(state: GenerationState) -> None:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(GenerationState, "draw", fail)
        assert submit(engine, jobs(1))[0].last == Failed("the image could not be computed: no memory")
    (client,) = submit(engine, jobs(1))
    assert_right(jobs(1)[0], client.last, engine.pipe)
    assert "a step failed" in caplog.text


def test_a_job_that_cannot_begin_fails_alone(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    good = jobs(1)[0]
    bad, right = submit(engine, [Job(0, 0, GenerationSettings(guidance_scale=(1, 2, (0, 99)))), good])
    assert isinstance(bad.last, Failed)
    assert_right(good, right.last, engine.pipe)


def test_a_listener_that_fails_ends_its_job_alone(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: Event) -> None:
        raise OSError("gone")

    client = Client()
    engine.submit(jobs(2), [fail, client])
    assert_right(jobs(2)[1], client.last, engine.pipe)
    assert engine.drain(LONG)
    assert "a listener failed" in caplog.text


def test_draining_finishes_what_was_accepted_and_takes_nothing_new(engine: Engine) -> None:
    clients = submit(engine, jobs(6))
    assert engine.drain(LONG)
    assert all(isinstance(client.last, Finished) for client in clients)
    with pytest.raises(Draining):
        submit(engine, jobs(1))


def test_closing_cancels_what_is_left(pipeline: DARPipeline) -> None:
    engine = Engine(pipeline, slots=1)
    engine.start()
    clients = submit(engine, jobs(9))
    engine.close()
    assert all(isinstance(client.last, Finished | Cancelled) for client in clients)
    assert engine.running == engine.waiting == 0


def test_an_engine_whose_first_image_fails_serves_all_the_same(
    pipeline: DARPipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(pipeline)
    with monkeypatch.context() as patch:
        patch.setattr(GenerationState, "draw", lambda state: 1 / 0)
        engine.start()
        assert isinstance(submit(engine, jobs(1))[0].last, Failed)
    assert not engine.ready
    assert isinstance(submit(engine, jobs(1))[0].last, Finished)
    assert engine.ready
    engine.close()


def test_random_clients_come_and_go(pipeline: DARPipeline) -> None:
    chance, engine = torch.Generator().manual_seed(0), Engine(pipeline, slots=4, queue_limit=100)
    engine.start()
    wanted, clients, tickets = jobs(30, previews=True), [], []
    for job in wanted:
        client = Client()
        clients.append(client)
        tickets += engine.submit([job], [client])
        if torch.rand(1, generator=chance) < 0.3:
            tickets[int(torch.randint(len(tickets), (1,), generator=chance))].cancel()
        time.sleep(float(torch.rand(1, generator=chance)) / 100)
    for job, client, ticket in zip(wanted, clients, tickets, strict=True):
        if isinstance(client.last, Finished):
            assert_right(job, client.last, pipeline)
        else:
            assert ticket.is_cancelled
    engine.close()


@pytest.mark.parametrize("numbers", [{"slots": 0}, {"queue_limit": -1}, {"slots": 1.5}])
def test_numbers_that_cannot_be_are_refused(pipeline: DARPipeline, numbers: dict) -> None:
    with pytest.raises(DARError):
        Engine(pipeline, **numbers)
