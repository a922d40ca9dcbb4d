"""The page in a real browser, from a file:// address: what it draws, what its filters do, what a keyboard reaches."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from report.conftest import Session

from harness.metrics import SECTIONS
from harness.report.page import render_page

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")

SCRIPT = "<script>alert(1)</script>"
NAMES = ("fp32", "int8", "int4", SCRIPT, "gpt-large", "gpt-small")
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of six models in two sessions, and of two that were estimated on another target."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        for number in range(2):
            session = Session(f"s{number}")
            for block in range(5):
                for place, name in enumerate(NAMES):
                    flags = ["load_high"] if name == "int8" else []
                    session.add(name, block, samples={"steady": [1_000_000 * (6 - place) + block] * 700}, flags=flags)
                for place, name in enumerate(NAMES[:2]):
                    samples = {"steady": [2_000_000 * (2 - place)]}
                    session.add(name, block, samples=samples, target="simulated", latency_kind="estimated")
            session.add("int8", 9, status="failed", error_kind="model", error_message="It <b>broke</b>.")
            for run in session.runs:
                for moment in ("started_at", "finished_at"):
                    run[moment] += timedelta(days=number)
            session.write(folder / "results")
    page = folder / "page.html"
    page.write_text(render_page(folder / "results"), encoding="utf-8")
    return page.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        # The sandbox of Chromium does not start for root, who runs most containers.
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Any]:
    """Opens the page; afterwards the console must be empty, no dialog opened, nothing but the file asked for."""
    said: list[str] = []
    contexts = []

    def opened(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": WIDE, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: said.append(request.url) if request.url != address else None)
        page.goto(address)
        page.wait_for_function("performance.getEntriesByName('drawn').length && document.querySelector('.plot svg')")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def shown(page: Any, section: str) -> list[str]:
    """The row headings that can be seen in a section's first table."""
    rows = page.locator(f"#{section} table").first.locator("tbody th[scope=row]:visible")
    # Not the inner texts: a section far below is not laid out yet, and would have none.
    return [text.split(" (")[0].split("1 flag")[0].strip() for text in rows.all_text_contents()]


def test_it_renders_every_part(open_page: Any) -> None:
    page = open_page()
    assert sorted(shown(page, "comparisons")) == sorted(NAMES)
    assert page.locator("#comparisons > .content > details").count() == 4
    assert page.locator("#comparisons details[open] .plot path[aria-roledescription=point]").count() == len(NAMES)
    assert page.locator("#trends figure").count() == 2
    assert page.locator("#trends figure").first.locator("path[aria-roledescription=point]").count() == 2 * len(NAMES)
    assert page.locator("#models table").first.locator("tbody tr").count() == len(NAMES) + 2
    assert page.locator("#runs tbody tr").count() == 30
    page.get_by_role("button", name="Show all 82").click()
    assert page.locator("#runs tbody tr").count() == 82
    assert page.locator("#runs .more").is_hidden()
    assert "failed: model: It <b>broke</b>." in page.locator("#runs").text_content()
    assert page.locator("#shown").inner_text() == "6 of 6 models, 82 of 82 runs"


def test_every_section_of_the_catalogue_has_its_rows(browser: Any, tmp_path: Path) -> None:
    """Of a session with a scalar for every metric that has one, and of one under an emulator, which counts."""
    session = Session("all")
    for measure, scalars in EVERY_PASS.items():
        session.add("m", measure=measure, scalars=scalars, samples={"steady": [1_000_000] * 9}, model_bytes=7)
    attempt = session.add("m", target="arm64", latency_kind=None, scalars={"instructions_branch@steady": 5.0})
    row = {"attempt_id": attempt, "phase": "steady", "iteration": 0, "start_ns": 0, "instructions": 41_000}
    session.samples.append(row)
    session.write(tmp_path / "results")
    (tmp_path / "page.html").write_text(render_page(tmp_path / "results"), encoding="utf-8")
    page, said = browser.new_page(), []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_function("performance.getEntriesByName('drawn').length")
    for target, sections in (("arm64", ["Instructions"]), ("x86", [s for s in SECTIONS if s != "Instructions"])):
        page.get_by_label("Target").select_option(target)
        details = page.locator("#comparisons > .content > details:visible")
        if details.get_attribute("open") is None:
            details.locator("summary").click()
        details.locator("tr.section").first.wait_for()
        assert [text.strip() for text in details.locator("tr.section th").all_inner_texts()] == sections
    page.close()
    assert said == []


def test_one_model_is_no_baseline_and_each_machine_has_its_trend(browser: Any, tmp_path: Path) -> None:
    for number, cpu in enumerate(("A", "A", "B", "B")):
        session = Session(f"s{number}")
        for block in range(3):
            session.add("m", block, samples={"steady": [2_000_000 + number] * 20}, fingerprint={"cpu_model": cpu})
        for run in session.runs:
            for moment in ("started_at", "finished_at"):
                run[moment] += timedelta(days=number)
        session.write(tmp_path / "results")
    (tmp_path / "page.html").write_text(render_page(tmp_path / "results"), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("#trends path[aria-roledescription=point]").nth(3).wait_for()
    heads = page.locator("#comparisons table").first.locator("thead th").all_inner_texts()
    assert [text.strip() for text in heads] == ["Metric", "m"]
    assert page.locator("#comparisons .figure").first.inner_text().split("\n")[0].startswith("2.000 ms")
    titles = page.locator("#trends figure h3").all_inner_texts()
    assert [title.rpartition(" · ")[2] for title in titles] == ["B", "A"]
    for number in range(2):
        figure = page.locator("#trends figure").nth(number)
        assert figure.locator("path[aria-roledescription=point]").count() == 2
        assert "latency p50 · ms · lower is better" in figure.locator("figcaption").inner_text()
    ticks = page.locator("#comparisons .plot svg").first.locator("g.mark-text.role-axis-label text").all_text_contents()
    numbers = [float(text) for text in ticks if text != "m"]
    assert (min(numbers), 2 <= max(numbers) < 3) == (0, True), "the axis is in the unit of its caption"
    page.locator("#trends path[aria-roledescription=point]").first.hover()
    assert "latency p50: 2.000 ms" in page.locator("#tip").inner_text()
    page.close()


EVERY_PASS = {
    "latency": {
        "load_program_ns": 5.0,
        "load_method_ns": 6.0,
        "tosa_sqnr_db@steady": 40.0,
        "dram_traffic_bytes@steady": 9.0,
    },
    "memory": {"planned_bytes": 4096.0},
    "energy": {"power_w": 3.0},
    "quality": {"loss_nats": 1.5},
}


def test_a_name_that_is_markup_is_shown_as_it_is(open_page: Any) -> None:
    page = open_page()
    assert SCRIPT in shown(page, "comparisons")
    page.get_by_role("button", name=SCRIPT, exact=True).first.click()
    assert page.locator("#h-profile").inner_text() == f"Profile of {SCRIPT} on x86"
    assert page.locator("b").count() == 0
    assert page.locator("script").count() == 4


def test_the_model_filter_is_felt_everywhere(open_page: Any) -> None:
    page = open_page()
    page.get_by_label("Model", exact=True).fill("GPT-, int4")
    assert page.locator("#shown").inner_text() == "3 of 6 models, 30 of 82 runs"
    assert set(shown(page, "models")) == set(shown(page, "runs")) == {"int4", "gpt-large", "gpt-small"}
    # So few stand in columns, as in the terminal.
    heads = page.locator("#comparisons table").first.locator("thead th").all_inner_texts()
    assert [text.strip() for text in heads] == ["Metric", "int4", "gpt-large", "gpt-small"]
    assert page.locator("#trends figure:visible").count() == 1
    assert page.locator("#h-profile").inner_text() == "Profile of int4 on x86"
    page.get_by_label("Model", exact=True).fill("no such model")
    assert page.locator("#shown").inner_text() == "0 of 6 models, 0 of 82 runs"
    assert shown(page, "runs") == []
    page.get_by_label("Model", exact=True).fill("")
    assert len(shown(page, "comparisons")) == len(NAMES)


def test_the_target_filter_is_felt_everywhere_and_estimates_are_hollow(open_page: Any) -> None:
    page = open_page()
    page.get_by_label("Target").select_option("simulated")
    assert page.locator("#comparisons > .content > details:visible").count() == 2
    assert page.locator("#shown").inner_text() == "2 of 6 models, 20 of 82 runs"
    page.locator("#comparisons summary:visible").first.click()
    details = page.locator("#comparisons details[open]:visible")
    details.get_by_text("latency p50, estimated").wait_for()
    details.get_by_text("Hollow: estimated, not measured.").wait_for()
    points = details.locator("path[aria-roledescription=point]")
    assert {points.nth(n).get_attribute("fill") for n in range(2)} == {"var(--page)"}


def test_tables_sort_by_a_click_both_ways(open_page: Any) -> None:
    page = open_page()
    head = page.locator("#comparisons th", has_text="latency p50")
    order = [*reversed(NAMES)]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert shown(page, "comparisons") == order
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert shown(page, "comparisons") == order[::-1]
    page.locator("#comparisons th", has_text="Model").get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "none"
    assert shown(page, "comparisons") == sorted(NAMES)


def test_charts_follow_the_metric(open_page: Any) -> None:
    page = open_page()
    caption = page.locator("#comparisons figcaption").first
    assert caption.inner_text() == "latency p50 · ms · lower is better"
    before = page.locator("#trends svg").first.inner_html()
    page.get_by_label("Charts of").select_option("steady_latency_ns_p99")
    assert caption.inner_text() == "latency p99 · ms · lower is better"
    page.wait_for_function("(before) => document.querySelector('#trends svg').innerHTML !== before", arg=before)


def test_hovering_says_conditions_and_what_a_flag_means(open_page: Any) -> None:
    page = open_page()
    tip = page.locator("#tip")
    page.locator("#runs tbody th button").first.hover()
    assert "cpu_model: Test CPU" in tip.inner_text()
    assert "frequency_governor: unknown" in tip.inner_text()
    page.locator("#comparisons .badge").first.hover()
    assert tip.inner_text() == (
        "5 processes: other processes used the CPU while it was measured (close other programs, or wait until they are "
        "done)"
    )
    page.locator("#comparisons .plot path[aria-roledescription=point]").first.hover()
    assert "fp32\nlatency p50: 6.0000 ms" in tip.inner_text()


def test_a_keyboard_reaches_filters_headings_tips_and_profiles(open_page: Any) -> None:
    page = open_page()
    focused = "document.activeElement.id || document.activeElement.innerText"
    reached = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(focused))
    assert reached == [
        "Skip to the comparisons", "target", "model", "metric", "Comparisons", "Trends", "Models", "Runs", reached[-1]
    ]  # fmt: skip
    assert reached[-1].startswith("x86 · cpu · single-stream")  # the comparison's summary
    page.keyboard.press("Enter")
    assert page.locator("#comparisons details[open]").count() == 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")  # the box of the table, which scrolls
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#comparisons th", has_text="Model").get_attribute("aria-sort") == "ascending"
    page.locator("#comparisons .badge").first.focus()
    assert page.locator("#tip").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    page.locator("#models tbody button").nth(1).press("Enter")
    assert page.evaluate(focused) == "profile"
    assert page.locator("#h-profile").inner_text() == "Profile of int8 on x86"


def test_what_has_focus_can_be_seen(open_page: Any) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window_and_text_is_readable(open_page: Any, size: Any, scheme: str) -> None:
    page = open_page(viewport=size, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.locator(".plot svg").first.bounding_box()["width"] <= size["width"]
    for selector in ("body", ".caption", "#comparisons .detail", "#comparisons .good", "#comparisons .badge", "nav a"):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector


CONTRAST = """(selector) => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((n) => n / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const text = light(getComputedStyle(document.querySelector(selector)).color);
  const page = light(getComputedStyle(document.body).backgroundColor);
  return (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05);
}"""
