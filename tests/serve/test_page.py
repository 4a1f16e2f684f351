"""The page in a real browser; skipped where there is none."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dar.pipeline import DARPipeline
from dar.serve.engine import Engine
from dar.serve.jobs import QueueFull
from tests import tiny
from tests.serve.live import serving

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: dar[browser]")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"there is no browser: one of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def opened_page(browser: Any, address: str, **options: Any) -> Iterator[Any]:
    """Open the page, and see that its script has no fault."""
    opened = browser.new_page(**{"viewport": {"width": 1000, "height": 900}, **options})
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.goto(address)
    opened.wait_for_function("() => document.getElementById('class').value !== ''")
    yield opened
    opened.close()
    assert not faults


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with opened_page(browser, address) as opened:
        yield opened


@pytest.fixture(scope="module")
def many_classes() -> Iterator[str]:
    """Serve a model of a thousand classes, of which two have one name; gives the address."""
    names = [f"{'-'.join(['longhaired'] * (1 + index % 5))} animal {index}" for index in range(997)]
    prior = tiny.prior(replace(tiny.PRIOR, class_names=(*names, "crane", "crane", "golden retriever")))
    with serving(DARPipeline(tiny.tokenizer(), prior), slots=8) as (address, _):
        yield address


def generate(page: Any, count: int = 1, **fields: object) -> Any:
    """Fill the form, and wait until so many new pictures are finished."""
    there = page.locator("article[data-state=finished]").count()
    for name, value in {"count": count, **fields}.items():
        page.fill(f"#{name}", str(value))
    page.click("#wanted button[type=submit]")
    page.wait_for_function(
        "there => document.querySelectorAll('article[data-state=finished]').length >= there", arg=there + count
    )
    return page.locator("article").first


def test_pictures_come_and_their_previews_can_be_seen_again(page: Any) -> None:
    card = generate(page, 2, seed=5)
    assert page.locator("article h2").all_inner_texts() == ["cat, seed 5", "cat, seed 6"]
    slider, picture = card.locator(".timeline input"), card.locator("img")
    assert slider.get_attribute("max") == "4"
    last = picture.get_attribute("src")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert card.locator(".timeline output").inner_text() == "3 of 4, 6 tokens"
    assert picture.get_attribute("src") != last
    page.keyboard.press("End")
    assert picture.get_attribute("src") == last


def test_vary_keeps_tokens_and_changes_the_class(page: Any) -> None:
    card = generate(page, seed=1)
    card.locator("[data-do=vary]").click()
    form = card.locator("form.vary")
    form.locator("[name=groups]").fill("2")
    form.locator("[name=class]").fill("great dane")
    form.locator("button").click()
    page.wait_for_function("() => document.querySelectorAll('article[data-state=finished]').length === 2")
    assert page.locator("article h2").all_inner_texts() == ["cat, seed 1", "great dane, seed 2, 4 tokens kept"]


def test_an_error_of_the_server_is_shown_in_words(
    page: Any, server: tuple[str, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    page.fill("#class", "unicorn")
    page.click("#wanted button[type=submit]")
    message = page.locator("#message")
    message.wait_for(state="visible")
    assert "there is no class 'unicorn'" in message.inner_text()

    def full(*arguments: object) -> None:
        raise QueueFull(7)

    with monkeypatch.context() as patch:
        patch.setattr(server[1], "submit", full)
        page.fill("#class", "cat")
        page.click("#wanted button[type=submit]")
        page.wait_for_function("() => document.getElementById('message').textContent.includes('queue is full')")
    generate(page)
    assert message.is_hidden()


def test_a_reload_in_between_leaves_the_server_well(page: Any, server: tuple[str, Engine]) -> None:
    page.fill("#count", "8")
    page.fill("#steps", "900")
    page.click("#wanted button[type=submit]")
    page.wait_for_selector("article")
    page.reload()
    page.wait_for_function("() => document.getElementById('class').value !== ''")
    generate(page)
    assert server[1].running == 0


def test_stop_ends_what_is_running(page: Any, server: tuple[str, Engine]) -> None:
    page.fill("#steps", "900")
    page.click("#wanted button[type=submit]")
    page.click("#stop:not([disabled])")
    page.wait_for_selector("#stop[disabled]", state="attached")
    generate(page, steps=3)


def test_it_downloads_and_works_by_keyboard(page: Any, tmp_path: Path) -> None:
    page.focus("#class")
    page.keyboard.press("Control+A")
    page.keyboard.type("sea_lion")
    page.fill("#count", "1")
    page.fill("#seed", "3")
    page.keyboard.press("Enter")
    page.wait_for_selector("article[data-state=finished]")
    with page.expect_download() as download:
        page.locator("[data-do=download]").click()
    assert download.value.suggested_filename == "sea-lion-seed-3-step-4.png"
    download.value.save_as(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_code_is_copied(page: Any, address: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    card = generate(page, seed=4, guidance="1:2", steps=3)
    card.locator("[data-do=python]").click()
    python = page.evaluate("navigator.clipboard.readText()")
    assert 'pipe("cat", seed=4, guidance_scale="1:2", steps=3)' in python
    card.locator("[data-do=curl]").click()
    curl = page.evaluate("navigator.clipboard.readText()")
    assert curl.startswith(f"curl -N {address}/v1/dar/stream")


def test_it_fits_a_narrow_screen(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    generate(page, 2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_thousand_classes_are_searched_quickly(browser: Any, many_classes: str, scheme: str) -> None:
    with opened_page(browser, many_classes, viewport={"width": 360, "height": 740}, color_scheme=scheme) as page:
        page.fill("#count", "1")
        page.focus("#class")
        start = time.monotonic()
        page.keyboard.type("Retriever", delay=0)  # replaces what is there
        page.evaluate("() => new Promise(requestAnimationFrame)")
        assert time.monotonic() - start < 2  # a tenth of that where nothing else computes
        page.keyboard.press("Enter")
        page.wait_for_selector("article[data-state=finished]")
        assert page.locator("h2").inner_text().startswith("golden retriever, seed")
        card = generate(page, **{"class": "longhaired-longhaired-longhaired-longhaired-longhaired animal 4"})
        card.locator("[data-do=vary]").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_class_whose_name_is_not_its_own_can_be_varied(browser: Any, many_classes: str) -> None:
    with opened_page(browser, many_classes) as page:
        card = generate(page, **{"class": "997", "seed": 1})
        card.locator("[data-do=vary]").click()
        card.locator("form.vary button").click()
        page.wait_for_function("() => document.querySelectorAll('article[data-state=finished]').length === 2")
        assert page.locator("article h2").all_inner_texts() == ["crane, seed 1", "crane, seed 2, 2 tokens kept"]
