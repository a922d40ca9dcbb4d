"""Readings of a source, taken by a thread of the harness at a steady pace while a worker works."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.energy.series import Series, from_counter, from_power, total
from harness.energy.source import NoEnergy, Source
from harness.errors import HarnessError


@dataclass
class Recorder:
    """Reads from `start` to `stop`. A source that fails is not asked again: `series` then says why."""

    source: Source
    at_s: list[float] = field(default_factory=list)
    values: list[Sequence[float]] = field(default_factory=list)
    trouble: str | None = None
    _enough: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Take a first reading, and go on in a thread: whatever begins after this call is covered."""
        if self._read():
            self._thread = threading.Thread(target=self._read_on, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Take a last reading and end; more than once is no error."""
        self._enough.set()
        if self._thread is not None:
            self._thread.join()

    def series(self) -> dict[str, Series]:
        """Joules of every part since the first reading, by the clock of `time.perf_counter`, and of all parts that
        are not contained in others under "". Raises NoEnergy.
        """
        if self.trouble is not None:
            raise NoEnergy(self.trouble)
        if not self.values:
            raise NoEnergy("nothing was read")
        series_by_part = {}
        for column, part in enumerate(self.source.parts):
            values = [row[column] for row in self.values]
            if self.source.power:
                series_by_part[part] = from_power(self.at_s, values)
            else:
                series_by_part[part] = from_counter(self.at_s, values, self.source.wraps_j[column], f"counter {part}")
        added = [part_series for part, part_series in series_by_part.items() if part not in self.source.contained]
        return {**series_by_part, "": total(added)}

    def _read_on(self) -> None:
        while not self._enough.wait(self.source.period_s):
            if not self._read():
                return
        self._read()

    def _read(self) -> bool:
        assert self.source.read is not None
        before = time.perf_counter()
        try:
            values = self.source.read()
        except (NoEnergy, HarnessError, OSError, ValueError, subprocess.SubprocessError) as error:
            self.trouble = str(error).rstrip(".")
            return False
        self.at_s.append((before + time.perf_counter()) / 2)
        self.values.append(values)
        return True
