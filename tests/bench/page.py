"""What the page of a large folder costs: 1,000 runs of 100 models as one file, opened in headless Chromium. Prints
megabytes and milliseconds; asserts nothing. `tox -e bench` runs it.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from report.conftest import Session

from harness.report.page import render_page

MODELS, BLOCKS, SESSIONS = 100, 5, 2
OPENED = 5
SETTLE_MS = 600  # charts are drawn after the frame of the tables
# What the browser itself says of each key: from the event to the frame that shows its effect (Event Timing; 8 ms steps,
# nothing below 16 ms is listed).
OBSERVE = """() => {
  window.took = [];
  new PerformanceObserver((list) => window.took.push(...list.getEntries().map((entry) => entry.duration)))
    .observe({ type: "event", durationThreshold: 16 });
}"""
# Where to type what: one model in a hundred, nineteen, all; the next target and back; the next metric.
KEYS = (
    ("model", ("7", "7", "Backspace", "Backspace")),
    ("target", ("ArrowDown", "ArrowUp")),
    ("metric", ("ArrowDown",)),
)


def write_store(results: Path) -> None:
    """Two sessions of 500 runs: a hundred models on two targets, five blocks, the metrics of a language model."""
    noise = random.Random(0)
    for night in range(SESSIONS):
        session = Session(f"night{night}")
        for block in range(BLOCKS):
            for number in range(MODELS):
                decode = 1e5 * (number + 1) * noise.lognormvariate(0, 0.03)
                target, kind = ("npu", "estimated") if number % 10 == 9 else ("x86", "measured")
                session.add(
                    f"model-{number:02d}",
                    block,
                    scenario="generate",
                    prompt_tokens=32,
                    new_tokens=8,
                    target=target,
                    latency_kind=kind,
                    model_bytes=40_000 * (number + 1),
                    bits_per_weight=32 / (number + 1),
                    parameters=10_000 * (number + 1),
                    recorded_loss_nats=1.5 + number / 100,
                    flags=["governor_unknown", "not_pinned", "load_high"][: noise.randrange(4)],
                    samples={
                        "first": [int(9 * decode)],
                        "prefill": [int(6 * decode * noise.lognormvariate(0, 0.05)) for _ in range(3)],
                        "decode": [int(decode * noise.lognormvariate(0, 0.05)) for _ in range(8)],
                        "ttft": [int(7 * decode)],
                    },
                    scalars={"load_program_ns": decode, "load_method_ns": 3 * decode},
                )
        for run in session.runs:
            for moment in ("started_at", "finished_at"):
                run[moment] += timedelta(days=night)
        session.write(results)


def bench_browser(page: Path, chromium: str) -> None:
    """First paint, all tables laid out, and each filter until it is seen, with comparisons and with runs in view."""
    from playwright.sync_api import sync_playwright

    paints, drawn, filters = [], [], []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(OPENED):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.as_uri())
            tab.wait_for_function("performance.getEntriesByName('drawn').length && document.querySelector('.plot svg')")
            times = tab.evaluate(
                "[performance.getEntriesByName('first-contentful-paint')[0], performance.getEntriesByName('drawn')[0]]"
                ".map((entry) => entry.startTime)"
            )
            paints.append(times[0])
            drawn.append(times[1])
            tab.evaluate(OBSERVE)
            for section in ("comparisons", "runs"):
                tab.evaluate("(id) => document.getElementById(id).scrollIntoView()", section)
                filters += [press(tab, field, key) for field, keys in KEYS for key in keys]
            tab.close()
        browser.close()
    print(f"first paint {spread(paints)}, all tables laid out {spread(drawn)}; opened {OPENED} times")
    print(f"a filter, from the key to the frame that shows it {spread(filters)}; {len(filters)} keys")


def press(tab: Any, field: str, key: str) -> float:
    """Milliseconds until the effect of a key was seen; 16 for whatever was quicker."""
    tab.evaluate(
        "(id) => { document.getElementById(id).focus({ preventScroll: true }); window.took.length = 0; }", field
    )
    tab.keyboard.press(key)
    tab.wait_for_timeout(SETTLE_MS)
    return float(tab.evaluate("Math.max(16, ...window.took)"))


def spread(times_ms: list[float]) -> str:
    """The median and the worst, in milliseconds."""
    return f"{statistics.median(times_ms):.0f} ms (at most {max(times_ms):.0f})"


def main() -> None:
    """Print what the page costs."""
    os.fsync = lambda descriptor: None  # ten thousand small files for one reading: no power cut matters
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_store(folder / "results")
        begin = time.perf_counter()
        html = render_page(folder / "results")
        took = time.perf_counter() - begin
        page = folder / "page.html"
        page.write_text(html, encoding="utf-8")
        runs, size = MODELS * BLOCKS * SESSIONS, page.stat().st_size / 1e6
        print(f"a page of {runs:,} runs and {MODELS} models: {size:.2f} MB, written in {took:.1f} s")
        if chromium := shutil.which("chromium"):
            bench_browser(page, chromium)
        else:
            print("the page was not opened: Chromium is not installed (apt-get install chromium)")


if __name__ == "__main__":
    main()
