"""Scores rules that end a warm-up on processes recorded from their first query on, and on simulated ones.

Where a process became steady is labelled afterwards: outliers are replaced by what lies around them (Hampel), change
points are set by PELT (Killick, Fearnhead and Eckley 2012, doi 10.1080/01621459.2012.737745), and the steady state
begins with the first segment that is level with the end, if nine tenths of what follows are so too; where the last
quarter is not level there is none. After Traini and others, doi 10.1007/s10664-022-10247-x. Queries that were disturbed
are left out: on a shared machine a neighbour on the same core slows it by half, many times a second, which a probe of
pure arithmetic between the queries shows. Prints tables; asserts nothing.

    python tests/bench/warmup.py                              # the processes of warmup.csv.xz
    python tests/bench/warmup.py --record more.csv --cpu 1    # an hour for 200 processes; needs onnx and onnxruntime
    python tests/bench/warmup.py more.csv
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pandas as pd
from warmup_labels import Process, recorded, simulated
from warmup_recorder import process, record
from warmup_rules import checks, harness, lengths, score, table

_SHIPPED = Path(__file__).with_name("warmup.csv.xz")


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True), default=_SHIPPED)
@click.option("--record", "out", type=click.Path(path_type=Path), help="Record processes into this CSV instead.")
@click.option("--rounds", default=13, show_default=True, help="Processes of each model in each runtime.")
@click.option("--cpu", default=0, show_default=True, help="The processor to record on; nothing else should run there.")
@click.option("--process", "one", type=(str, click.Path(path_type=Path), int), hidden=True)
def main(path: Path, out: Path | None, rounds: int, cpu: int, one: tuple[str, Path, int] | None) -> None:
    """Score the rules on the processes of a CSV, or record more of them."""
    if one is not None:
        click.echo(json.dumps(process(*one)))
        return
    if out is not None:
        record(out, rounds, cpu)
        return
    for tolerance, processes in recorded(path, (0.05, 0.03)).items():
        labelled = [one for one in processes if one.start is not None]
        share = f"{len(labelled)} of {len(processes)} recorded processes have a steady state"
        click.echo(f"\n{share} (level: within {tolerance:.0%}); it begins at query (quartiles, p90): ", nl=False)
        click.echo(", ".join(f"{at:.0f}" for at in np.percentile([one.start for one in labelled], [25, 50, 75, 90])))
        click.echo(table(labelled).to_string(index=False))
        click.echo(f"\nChecks afterwards\n{checks(labelled).to_string(index=False)}")
        for name in ("runtime", "model"):
            groups: dict[str, list[Process]] = {}
            for each in labelled:
                groups.setdefault(getattr(each, name), []).append(each)
            rows = [{name: group, **score(harness, members)} for group, members in sorted(groups.items())]
            click.echo(f"\nThe rule of harness by {name}\n{pd.DataFrame(rows).to_string(index=False)}")
    click.echo(f"\nAs measured, with what disturbed them\n{lengths(path).to_string(index=False)}")
    click.echo(f"\nSimulated processes, .2 to 6 % of noise\n{table(simulated(300)).to_string(index=False)}")


if __name__ == "__main__":
    main()
