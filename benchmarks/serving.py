"""How a server does under load, beside the pipeline alone: ``python -m benchmarks.serving``.

The server is a process of its own; this one asks. Throughput: so many clients that each ask again when they are
answered, in turn with batches of the pipeline. Overload: requests arrive at random at twice the rate that was
reached, whether or not those before them are answered.
"""

import json
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from http.client import HTTPConnection
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.hardware import processor
from dar.files import write_json
from dar.pipeline import DARPipeline

PATH = "/v1/images/generations"
PATIENCE = 300


@dataclass(frozen=True)
class Answer:
    """How a request was answered.

    Attributes:
        status: of HTTP; 0 where there was no answer.
        start: when it was asked for, by ``time.perf_counter``.
        seconds: until the answer was whole.
        first: until the first event with an image; None where there was none.
        retry_after: whether a refusal said when to try again.
    """

    status: int
    start: float
    seconds: float
    first: float | None = None
    retry_after: bool = False


def ask(port: int, seed: int, partial_images: int = 0) -> Answer:
    """Ask for an image, streamed where previews are wanted."""
    body: dict[str, Any] = {"prompt": "0", "seed": seed}
    if partial_images:
        body |= {"stream": True, "partial_images": partial_images}
    start, first = time.perf_counter(), None
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("POST", PATH, json.dumps(body))
        answer = connection.getresponse()
        for line in answer:
            if first is None and line.startswith(b"event:"):
                first = time.perf_counter() - start
        told = answer.getheader("retry-after") is not None
        return Answer(answer.status, start, time.perf_counter() - start, first, told)
    except OSError:
        return Answer(0, start, time.perf_counter() - start)
    finally:
        connection.close()


@contextmanager
def server(slots: int, queue: int) -> Iterator[tuple[int, int]]:
    """Serve the bundled model in a process of its own; gives its port and its process's id."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dar", "serve", "--port", str(port), "--slots", str(slots), "--queue", str(queue)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not _is_ready(port):
                if process.poll() is not None:
                    raise typer.BadParameter(f"dar serve ended with code {process.returncode}: try it by hand")
                time.sleep(0.1)
            yield port, process.pid
        finally:
            process.terminate()


def _is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def closed_loop(port: int, clients: int, each: int, partial_images: int) -> float:
    """Let clients ask one request after the other; return images a second."""

    def run(client: int) -> None:
        for i in range(each):
            assert ask(port, 1000 * client + i, partial_images).status == 200

    threads = [threading.Thread(target=run, args=(client,)) for client in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return clients * each / (time.perf_counter() - start)


def open_arrivals(port: int, rate: float, seconds: float, seed: int = 0) -> list[Answer]:
    """Ask at random times, so many a second on average."""
    chance, answers, threads = random.Random(seed), list[Answer](), []

    def answer(number: int) -> None:
        answers.append(ask(port, number))

    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        thread = threading.Thread(target=answer, args=(len(threads),))
        thread.start()
        threads.append(thread)
        time.sleep(chance.expovariate(rate))
    for thread in threads:
        thread.join()
    return answers


def batches(pipe: DARPipeline, size: int, count: int) -> float:
    """Generate batches with the pipeline; return images a second."""
    start = time.perf_counter()
    for i in range(count):
        pipe([0] * size, seed=size * i)
    return size * count / (time.perf_counter() - start)


def first_preview(pipe: DARPipeline) -> float:
    """Seconds until the pipeline's first preview of one image."""
    start = time.perf_counter()
    _ = next(pipe.stream([0], seed=0)).images
    return time.perf_counter() - start


def first_served_preview(port: int) -> float:
    """Seconds until the server's first preview of one image."""
    start = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("POST", "/v1/dar/stream", json.dumps({"class": 0, "seed": 0}))
    answer = connection.getresponse()
    _ = next(line for line in answer if line.startswith(b"data:"))
    first = time.perf_counter() - start
    answer.read()  # a client that goes away at once would leave the next one a busy server
    connection.close()
    return first


def resident_bytes(pid: int) -> int:
    """Memory that a process has in use."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096


def in_turn(runs: int, *measures: Callable[[], float]) -> list[float]:
    """Take each measure so often, in turn; return their medians."""
    taken = [[measure() for measure in measures] for _ in range(runs)]
    return [statistics.median(each) for each in zip(*taken, strict=True)]


def served_meanwhile(answers: list[Answer]) -> list[int]:
    """Count for each image how many were answered from its request to its own answer, in rising order.

    Slots and queue bound this number whatever the speed of the machine at that time.
    """
    ends = sorted(one.start + one.seconds for one in answers)
    return sorted(bisect_right(ends, one.start + one.seconds) - bisect_right(ends, one.start) for one in answers)


def _of_hundred(values: list[Any], percent: int) -> Any:
    """The value that so many in a hundred of them do not exceed; they rise."""
    return values[min(percent * len(values) // 100, len(values) - 1)]


def overload(port: int, pid: int, rate: float, seconds: float) -> dict[str, Any]:
    """Send twice what can be served, and sum up what came of it."""
    memory = [resident_bytes(pid)]
    answers = list[Answer]()
    for share in (0.25, 0.25, 0.5):
        answers += open_arrivals(port, 2 * rate, share * seconds)
        memory.append(resident_bytes(pid))
    images = [answer for answer in answers if answer.status == 200]
    served, meanwhile = sorted(answer.seconds for answer in images), served_meanwhile(images)
    refused = [answer for answer in answers if answer.status == 429]
    return {
        "seconds": seconds,
        "requests": len(answers),
        "served": len(served),
        "refused": len(refused),
        "refused without Retry-After": sum(not answer.retry_after for answer in refused),
        "other answers": len(answers) - len(served) - len(refused),
        "p50 seconds": _of_hundred(served, 50),
        "p99 seconds": _of_hundred(served, 99),
        "p50, p99, most served meanwhile": [*(_of_hundred(meanwhile, p) for p in (50, 99)), meanwhile[-1]],
        "MB at first, after a quarter, a half, and all": [round(one / 1e6) for one in memory],
        "is healthy afterwards": _is_ready(port),
    }


def main(
    concurrent: Annotated[int, typer.Option(help="Clients at once, and images of the pipeline's batch.")] = 16,
    each: Annotated[int, typer.Option(help="Requests of each client in a run.")] = 4,
    runs: Annotated[int, typer.Option(help="Of each measure.")] = 3,
    minutes: Annotated[float, typer.Option(help="Of overload.")] = 10,
    slots: Annotated[int, typer.Option(help="Of the server.")] = 32,
    queue: Annotated[int, typer.Option(help="Of the server.")] = 32,
    out: Annotated[Path, typer.Option(help="Where to write all figures.")] = Path("out/serving.json"),
) -> None:
    """Measure throughput, time to the first preview, and overload."""
    pipe = DARPipeline.from_pretrained()
    batches(pipe, concurrent, 1)
    with server(slots, queue) as (port, pid):
        ask(port, 0)
        alone, plain, partial = in_turn(
            runs,
            lambda: batches(pipe, concurrent, each),
            lambda: closed_loop(port, concurrent, each, 0),
            lambda: closed_loop(port, concurrent, each, 3),
        )
        stream, served = in_turn(5 * runs, lambda: first_preview(pipe), lambda: first_served_preview(port))
        found = {
            "processor": processor()["name"],
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "date": str(date.today()),
            "images a second": {"pipeline": alone, "server": plain, "server, three previews": partial},
            "of the pipeline": {"server": plain / alone, "server, three previews": partial / alone},
            "first preview, seconds": {"pipeline": stream, "server": served, "ratio": served / stream},
            "slots, queue": [slots, queue],
            "overload": overload(port, pid, plain, 60 * minutes) if minutes else None,
        }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, found)
    typer.echo(json.dumps(found, indent=2))


if __name__ == "__main__":
    typer.run(main)
