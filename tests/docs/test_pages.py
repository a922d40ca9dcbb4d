"""The pages are whole: links lead somewhere, generated parts have everything, the site builds, README stays short."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from docs.sources import DOCS, FENCE, PAGES, ROOT, SNIPPET, module, prose

from harness.metrics import CATALOGUE
from harness.store import schemas

LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """The pages of the site with their generated parts."""
    fill = module(DOCS / "generate.py").fill
    return {name: fill(text) for name, text in PAGES.items() if name.startswith("docs/")}


def anchors(text: str) -> set[str]:
    """What a link may name after `#`: headings, as MkDocs and GitHub spell them."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short_and_narrow() -> None:
    lines = PAGES["README.md"].splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_inside_the_project_lead_somewhere(page: str) -> None:
    for link in LINK.findall(prose(PAGES[page])):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_includes_is_there(page: str) -> None:
    """A formatter that takes the line of an include for Python makes it text."""
    includes = [line.strip() for line in PAGES[page].splitlines() if line.strip().startswith("--8")]
    assert [line for line in includes if not SNIPPET.fullmatch(line)] == []
    assert [file for line in includes for file in SNIPPET.findall(line) if not (DOCS / file).is_file()] == []


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_includes_is_linked_above(page: str) -> None:
    """GitHub shows the line of an include as it stands, so a link leads to the file."""
    text = PAGES[page]
    assert [match[1] for match in SNIPPET.finditer(text) if f"]({match[1]})" not in text[: match.start()]] == []


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_in_plain_words(page: str) -> None:
    """Words that this project once gave a meaning of its own, or that readers had to look up."""
    text = re.sub(r"`[^`]*`|\([^)]*\.md[^)]*\)", "", prose(PAGES[page])).lower()
    assert (
        re.findall(r"\b(?:beside|kept|told|whole|said|filled up|a token p\d+|bits a weight|nats a token)\b", text) == []
    )


@pytest.mark.parametrize("page", PAGES)
def test_included_files_are_included(page: str) -> None:
    """As pymdownx.snippets spells it; anything like it would be shown to the reader as it stands."""
    like_it = re.findall(r"^.*-- ?8.*$", PAGES[page], re.MULTILINE)
    assert [line for line in like_it if not SNIPPET.fullmatch(line)] == []
    assert all((DOCS / name).is_file() for name in SNIPPET.findall(PAGES[page]))


def test_every_page_is_in_the_navigation() -> None:
    nav = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert nav == {path.name for path in DOCS.glob("*.md")}


def test_every_metric_stands_on_its_page(generated: dict[str, str]) -> None:
    for metric in CATALOGUE:
        assert f"| `{metric.name}` | {metric.label} |" in generated["docs/metrics.md"]


def test_every_flag_stands_on_its_page(generated: dict[str, str]) -> None:
    """Those that conditions set, too, and each with what to do."""
    rows = dict(re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", generated["docs/flags.md"], re.MULTILINE))
    assert len(rows) > 20
    conditions = (ROOT / "harness" / "conditions" / "flags.py").read_text(encoding="utf-8")
    raised = set(re.findall(r'^ +"(\w+)":', conditions, re.MULTILINE))
    assert len(raised) > 15
    assert raised <= set(rows)
    assert "–" not in rows.values()


def test_every_column_stands_on_its_page(generated: dict[str, str]) -> None:
    page = generated["docs/results.md"]
    for name, schema in {**schemas.TABLES, **schemas.LEDGERS}.items():
        part = page.partition(f"### `{name}`\n")[2].partition("\n### ")[0]
        rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \| (.*) \|$", part, re.MULTILINE)
        assert [column for column, _, _ in rows] == schema.names
        assert [column for column, _, text in rows if not text] == [], name


def test_every_option_stands_on_its_page(generated: dict[str, str]) -> None:
    generate = module(DOCS / "generate.py")
    commands = dict(generate.all_commands())
    assert {"harness run", "harness models build", "harness nightly run"} <= set(commands)
    for words, command in commands.items():
        part = generated["docs/command-line.md"].partition(f"## `{words}`\n")[2].partition("\n## ")[0]
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert max(option.opts, key=len) in part, (words, option.opts)


def test_nothing_is_left_to_generate(generated: dict[str, str]) -> None:
    assert sum("<!-- generated:" in text for name, text in PAGES.items() if name in generated) > 4
    assert [name for name, text in generated.items() if "<!-- generated:" in text] == []


def test_what_is_generated_can_be_read_without_the_site() -> None:
    """Each line that asks for a part names a command that prints it: of harness, which `test_commands` reads, or of
    `generate.py`.
    """
    generate = module(DOCS / "generate.py")
    lines = [(match[0], match[1]) for text in PAGES.values() for match in generate.MARK.finditer(text)]
    assert {part for _, part in lines} == set(generate.PARTS)
    for line, part in lines:
        printed = re.findall(r"`python docs/generate\.py (\w+)`", line)
        assert printed == [part] or (not printed and "`harness " in line), line


def test_a_part_is_printed_without_the_site() -> None:
    command = [sys.executable, "docs/generate.py"]
    printed = subprocess.run([*command, "scenarios"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed == module(DOCS / "generate.py").scenarios()
    wrong = subprocess.run([*command, "scenario"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "scenarios" in wrong.stderr


def test_every_variable_of_the_environment_stands_on_a_page() -> None:
    code = [
        path.read_text(encoding="utf-8")
        for top in ("harness", "targets", "models")
        for path in ROOT.glob(f"{top}/**/*.py")
    ]
    read = set(re.findall(r'"(HARNESS_[A-Z]+|NO_COLOR)"', "\n".join(code))) - {
        "HARNESS_COUNTS"
    }  # set by harness itself
    assert len(read) > 3
    assert read == set(re.findall(r"^\| `(HARNESS_[A-Z]+|NO_COLOR)` \|", PAGES["docs/command-line.md"], re.MULTILINE))


def test_the_picture_is_what_was_printed() -> None:
    shown = _shown("first")
    for word in (DOCS / "output" / "first.txt").read_text(encoding="utf-8").split():
        assert word in shown


def test_what_the_readme_claims_is_in_its_picture() -> None:
    shown = _shown("first")
    claims = re.findall(r"([\d.]+x) as fast", PAGES["README.md"].partition("## ")[0])
    assert claims
    assert set(claims) <= set(shown.split())


def _shown(name: str) -> str:
    """The words of a picture."""
    svg = (DOCS / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    return re.sub(r"<[^>]+>", "", svg).replace("&#160;", " ").replace("&#x27;", "'").replace("&amp;", "&")


def test_no_page_needs_the_network() -> None:
    """No script, style or picture from elsewhere."""
    for name, text in PAGES.items():
        assert re.findall(r"!\[[^]]*\]\(\w+:", FENCE.sub("", text)) == [], name
    assert "http" not in (DOCS / "style.css").read_text(encoding="utf-8")


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mkdocs", "material")), reason="MkDocs is not installed"
)
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = {path.stem for path in (tmp_path / "site").glob("*.html")} - {"404"}
    assert pages == {path.stem for path in DOCS.glob("*.md")}
