"""The same runs by another commit's source: a worker process that imports that source, told what to do run by run."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from benchmarks.speed import CannotMeasure
from benchmarks.speed_cases import Case
from benchmarks.speed_parts import Span, Workbench
from dar.errors import DARError, quoted

ROOT = Path(__file__).resolve().parent.parent


class OtherCommit:
    """Runs cases from another source folder, see ``benchmarks.speed.Side``."""

    def __init__(self, worker: "subprocess.Popen[str]") -> None:
        assert worker.stdin is not None
        assert worker.stdout is not None
        self._to: IO[str] = worker.stdin
        self._from: IO[str] = worker.stdout

    def prepare(self, case: Case) -> None:
        self._ask({"prepare": asdict(case)})

    def run(self, part: str, span: Span) -> dict[str, float]:
        return self._ask({"run": [part, span]})

    def source(self) -> str:
        """The folder of the package that the worker imported."""
        return self._ask({"source": None})

    def _ask(self, request: dict[str, Any]) -> Any:
        """Have something done.

        Raises:
            CannotMeasure: with what went wrong there.
        """
        try:
            self._to.write(json.dumps(request) + "\n")
            self._to.flush()
            answer = self._from.readline()
        except BrokenPipeError:
            answer = ""
        reply = json.loads(answer) if answer else {"error": "its process has ended"}
        if "error" in reply:
            raise CannotMeasure(reply["error"])
        return reply["result"]


@contextmanager
def other_commit(commit: str, device: str, threads: int) -> Iterator[OtherCommit]:
    """Start a worker on a commit's source, in a temporary worktree that is removed after the block.

    Raises:
        DARError: if there is no such commit here, or its source cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="dar-speed-") as folder:
        tree = Path(folder) / "tree"
        added = _git("worktree", "add", "--detach", str(tree), commit)
        if added.returncode:
            raise DARError(f"cannot take {commit!r} from git ({quoted(added.stderr)}): name a commit of this checkout")
        try:
            with _worker(tree / "src", device, threads) as worker:
                other = OtherCommit(worker)
                _check_source(other, tree, commit)
                yield other
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _check_source(other: OtherCommit, tree: Path, commit: str) -> None:
    try:
        source = Path(other.source())
    except CannotMeasure as error:
        raise DARError(f"the benchmark does not run on {commit!r} ({error}): name a later commit") from error
    if not source.is_relative_to(tree.resolve()):
        raise DARError(f"{commit!r} would be measured by {source}: run this in an environment without that path")


@contextmanager
def _worker(source: Path, device: str, threads: int) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "benchmarks.speed_compare", device, str(threads)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(source)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the process that asks
    ) as worker:
        try:
            yield worker
        finally:
            worker.kill()


def _git(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def commit_hash(commit: str) -> str:
    """Full hash of a commit; the name itself where git knows none."""
    found = _git("rev-parse", "--verify", f"{commit}^{{commit}}")
    return found.stdout.strip() if found.returncode == 0 else commit


def serve(requests: IO[str], replies: IO[str], bench: Workbench) -> None:
    """Do what is asked, line by line, until nobody asks any more."""
    for line in requests:
        try:
            reply = {"result": _done(json.loads(line), bench)}
        except Exception as error:  # whatever an older source can't do is told, and the other cases are measured
            reply = {"error": quoted(f"{type(error).__name__}: {error}")}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _done(request: dict[str, Any], bench: Workbench) -> Any:
    if "prepare" in request:
        case = request["prepare"]
        return bench.prepare(Case(**case | {"parts": tuple(case["parts"])}))
    if "run" in request:
        part, (first, stop) = request["run"]
        return bench.run(part, (first, stop))
    import dar

    return str(Path(dar.__file__).resolve().parent)


def _work() -> None:
    import torch

    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no reply
    torch.set_num_threads(int(sys.argv[2]))
    serve(sys.stdin, replies, Workbench(torch.device(sys.argv[1])))


if __name__ == "__main__":
    _work()
