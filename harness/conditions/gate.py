"""A gate: nothing is measured before the device has cooled down."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from harness.conditions.readings import Reading

TEMPERATURE = "temperature_celsius"
_POLL_S = 2.0


def wait_until_cool(
    read: Callable[[], Sequence[Reading]],
    below_celsius: float,
    limit_s: float,
    on_wait: Callable[[int, int], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until the device is below a temperature, at most `limit_s` seconds. `on_wait` is given seconds waited, of
    how many.

    A device whose temperature cannot be read is not waited for, and one that stays hot is measured: both get a flag.
    """
    waited = 0.0
    while waited < limit_s:
        text = next((reading.value for reading in read() if reading.name == TEMPERATURE), None)
        if text is None or float(text) < below_celsius:
            return
        if on_wait is not None:
            on_wait(int(waited), int(limit_s))
        sleep(_POLL_S)
        waited += _POLL_S
