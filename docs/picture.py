"""`python docs/picture.py`: draws pictures/first.svg from output/first.txt, what a run printed, word for word."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text

HERE = Path(__file__).parent
STYLES = (
    (r"\[(?:[\d.]+, [\d.]+)\]", "dim"),  # intervals
    (r"^(?:Latency|Load|Memory|Size|Quality)(?= ─)", "bold"),
    (r"─+", "dim"),
    (r"(?<= )[\d.]+x$", "green"),  # every ratio of this run is above 1
    (r"^•.*|^  \S.*", "dim"),
)


def picture(printed: str, command: str) -> str:
    """An SVG of a terminal with the command and what it printed."""
    width = max(map(len, printed.splitlines()))
    console = Console(record=True, width=width, file=open("/dev/null", "w"), highlight=False)  # noqa: SIM115
    console.print(Text(f"$ {command}", style="bold"))
    for line in printed.splitlines():
        text = Text(line)
        for pattern, style in STYLES:
            text.highlight_regex(pattern, style)
        console.print(text)
    # The class names hold a hash of the content, so equal output gives equal bytes.
    svg = console.export_svg(title="harness", theme=DEFAULT_TERMINAL_THEME)
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no fonts from the network


if __name__ == "__main__":
    printed = (HERE / "output" / "first.txt").read_text(encoding="utf-8")
    command = "harness run --target x86 --model baseline.pte --model selfcomp.pte"
    (HERE / "pictures" / "first.svg").write_text(picture(printed, command), encoding="utf-8")
