import time

from dar.cli.generation_plan import Plan
from dar.generation.provenance import Provenance
from dar.generation.settings import GenerationSettings


def test_names_of_very_many_files_take_no_time() -> None:
    made = Provenance(
        model="x", tokenizer="a", prior="b", class_name="a" * 500, class_index=0, seed=0, settings=GenerationSettings()
    )
    plan = Plan([made] * 20_000, {})
    start = time.monotonic()
    names = [plan.file(i) for i in range(20_000)]
    assert time.monotonic() - start < 10
    assert names[-1] == f"19999-{50 * 'a'}.png"  # short enough for any system
