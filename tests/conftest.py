"""Small random models for every test; nothing is read from the network or written to the home folder."""

import os
import signal
import tempfile
from pathlib import Path

_CACHE = tempfile.TemporaryDirectory(prefix="dar-tests-")
os.environ |= {"HF_HOME": _CACHE.name, "HF_HUB_OFFLINE": "1"}  # read when the libraries are first imported
for _name in ("HF_ASSETS_CACHE", "HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_TOKEN_PATH", "XDG_CACHE_HOME"):
    os.environ.pop(_name, None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so do shells start what runs in their background
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402
import torch  # noqa: E402

from dar.pipeline import DARPipeline  # noqa: E402
from dar.prior import Prior  # noqa: E402
from dar.tokenizer import SequentialDiffusionTokenizer  # noqa: E402
from tests import tiny  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> SequentialDiffusionTokenizer:
    """Shared: change a ``tiny.tokenizer()`` of your own instead."""
    return tiny.tokenizer()


@pytest.fixture(scope="session")
def prior() -> Prior:
    """Shared: change a ``tiny.prior()`` of your own instead."""
    return tiny.prior()


@pytest.fixture(scope="session")
def pipeline(tokenizer: SequentialDiffusionTokenizer, prior: Prior) -> DARPipeline:
    return DARPipeline(tokenizer, prior)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, pipeline: DARPipeline) -> Path:
    """Folder of the small random model; shared, so leave it as it is."""
    folder = tmp_path_factory.mktemp("model")
    pipeline.save_pretrained(folder)
    return folder
