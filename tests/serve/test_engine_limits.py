"""What the engine bears although it is odd: failures at odd moments, odd settings, half precision."""

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch

from dar.generation.settings import GenerationSettings
from dar.generation.state import GenerationState
from dar.pipeline import DARPipeline
from dar.serve.engine import Engine
from dar.serve.jobs import Cancelled, Draining, Event, Failed, Finished, Job, QueueFull
from tests import tiny
from tests.serve.test_engine import LONG, Client, assert_right, jobs, submit, wait_until_ready

SHORT = 5.0


@pytest.fixture
def make(pipeline: DARPipeline) -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(**options: object) -> Engine:
        engine = Engine(pipeline, **options)
        engine.start()
        wait_until_ready(engine)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


def test_jobs_that_are_beginning_count_against_the_limit(
    make: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, made = make(slots=1, queue_limit=1), GenerationState.__init__
    held, going = threading.Event(), threading.Event()

    def begin(state: GenerationState, *given: object) -> None:
        held.set()
        assert going.wait(LONG)
        made(state, *given)

    monkeypatch.setattr(GenerationState, "__init__", begin)
    try:
        submit(engine, jobs(1))
        assert held.wait(LONG)
        with pytest.raises(QueueFull):
            submit(engine, jobs(2))
    finally:
        going.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_policy_that_fails_does_not_end_the_engine(make: Callable[..., Engine]) -> None:
    failures = [True]

    def policy(waiting: Sequence[Job]) -> int:
        if failures:
            failures.pop()
            raise RuntimeError("no order")
        return 0

    engine = make(policy=policy)
    submit(engine, jobs(1))
    (client,) = submit(engine, jobs(1))
    assert client.ended.wait(SHORT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_cancel_without_memory_to_leave_does_not_end_the_engine(
    make: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, drawn = make(slots=4), GenerationState.draw
    held, going = threading.Event(), threading.Event()

    def draw(state: GenerationState) -> None:
        held.set()
        assert going.wait(LONG)
        drawn(state)

    def select(state: GenerationState, rows: Sequence[int]) -> GenerationState:
        raise torch.OutOfMemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(GenerationState, "draw", draw)
        patch.setattr(GenerationState, "select", select)
        clients = [Client(), Client()]
        tickets = engine.submit([Job(0, 0, jobs(1)[0].settings), Job(1, 1, jobs(1)[0].settings)], clients)
        assert held.wait(LONG)
        tickets[0].cancel()
        going.set()
        assert all(client.ended.wait(SHORT) for client in clients)
    (client,) = submit(engine, jobs(1))
    assert client.ended.wait(SHORT)
    assert isinstance(client.last, Finished)


def test_draining_ends_only_when_all_have_been_told(make: Callable[..., Engine]) -> None:
    engine, held, going = make(slots=1), threading.Event(), threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, Finished):
            held.set()
            assert going.wait(LONG)

    engine.submit(jobs(1), [listen])
    assert held.wait(LONG)
    try:
        assert not engine.drain(0.2)
    finally:
        going.set()
    assert engine.drain(LONG)


@pytest.mark.parametrize(
    "odd",
    [
        {"guidance_scale": 1e38},
        {"guidance_scale": 1e300},
        {"guidance_scale": (1.0, 3e38)},
        {"temperature": 1e-300},
        {"temperature": 1e-40},
        {"temperature": 1e300},
        {"top_p": 1e-300},
        {"top_k": 10**30},
        {"steps": 1000},
    ],
    ids=str,
)
def test_odd_settings_of_one_harm_no_other(make: Callable[..., Engine], odd: dict) -> None:
    engine = make(slots=4)
    odd_job = Job(0, 0, GenerationSettings(**{"guidance_scale": 2.0, "steps": 4} | odd))
    good = jobs(3)
    clients = submit(engine, [good[0], odd_job, *good[1:]])
    for job, client in zip(good, [clients[0], *clients[2:]], strict=True):
        assert_right(job, client.last, engine.pipe)
    assert clients[1].last


def test_equal_seeds_give_equal_images(make: Callable[..., Engine]) -> None:
    engine = make(slots=10)
    job = Job(1, 5, GenerationSettings(guidance_scale=2.0, steps=4))
    for client in submit(engine, [job] * 10):
        assert_right(job, client.last, engine.pipe)


@pytest.mark.parametrize("steps", [1, 3, 9])
@pytest.mark.parametrize("kept", [7, 8])
def test_nearly_all_tokens_kept(make: Callable[..., Engine], steps: int, kept: int) -> None:
    engine = make(slots=4)
    odd = Job(1, 5, GenerationSettings(guidance_scale=2.0, steps=steps), tuple(range(kept)))
    wanted = [jobs(1)[0], odd, odd, Job(0, 1, GenerationSettings(steps=1))]
    for job, client in zip(wanted, submit(engine, wanted), strict=True):
        assert_right(job, client.last, engine.pipe)


def test_closing_ends_a_drain_that_waits(pipeline: DARPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, drawn = Engine(pipeline, slots=1), GenerationState.draw
    engine.start()
    wait_until_ready(engine)
    held, going = threading.Event(), threading.Event()

    def draw(state: GenerationState) -> None:
        held.set()
        assert going.wait(LONG)
        drawn(state)

    monkeypatch.setattr(GenerationState, "draw", draw)
    submit(engine, jobs(3))
    assert held.wait(LONG)
    draining = threading.Thread(target=engine.drain, daemon=True)
    draining.start()
    closing = threading.Thread(target=engine.close, daemon=True)
    closing.start()
    going.set()
    closing.join(LONG)
    assert not closing.is_alive()
    draining.join(3)
    assert not draining.is_alive()


def test_closing_twice_at_once_tells_each_client_once(pipeline: DARPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(pipeline, slots=1)
    clients = submit(engine, jobs(50))  # never started: all of them wait
    threads = [threading.Thread(target=engine.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert {len(client.events) for client in clients} == {1}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_serves(dtype: torch.dtype) -> None:
    engine = Engine(DARPipeline(tiny.tokenizer(), tiny.prior()).to(dtype=dtype), slots=3)
    engine.start()
    wait_until_ready(engine)
    wanted = [*jobs(3, previews=True), *jobs(2, prefix=(1, 2, 3)), *jobs(2, prefix=tuple(range(8)))]
    try:
        for client in submit(engine, wanted):
            assert isinstance(client.last, Finished)
            assert client.last.pixels.isfinite().all()
    finally:
        engine.close()


def test_everyone_is_told_once_while_threads_submit_cancel_and_drain(pipeline: DARPipeline) -> None:
    engine = Engine(pipeline, slots=3, queue_limit=500)
    engine.start()
    wait_until_ready(engine)
    clients: list[Client] = []

    def work(seed: int) -> None:
        chance = torch.Generator().manual_seed(seed)
        for i in range(30):
            client = Client()
            try:
                (ticket,) = engine.submit(jobs(1, prefix=tuple(range(i % 9))), [client])
            except Draining:
                return
            clients.append(client)
            if torch.rand(1, generator=chance) < 0.5:
                threading.Timer(float(torch.rand(1, generator=chance)) / 50, ticket.cancel).start()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    assert engine.drain(LONG)
    for thread in threads:
        thread.join(LONG)
    for client in clients:
        assert not isinstance(client.last, Failed)
        assert sum(isinstance(event, Finished | Failed | Cancelled) for event in client.events) == 1
    engine.close()
