"""A reading of the environment, and the fingerprint made of those that must match for two rows to be comparable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """One fact about the device as text, or None with the `reason` why it could not be read. `identity` facts do not
    change from one minute to the next and go into the fingerprint; the others are its state.
    """

    name: str
    value: str | None
    reason: str | None = None
    identity: bool = False


def fingerprint(readings: Iterable[Reading], versions: Mapping[str, str]) -> tuple[str, str]:
    """A hash of everything that must match, and the canonical JSON it was made of: device identity and runtime
    versions.
    """
    parts = {reading.name: reading.value for reading in readings if reading.identity}
    parts.update({f"version.{name}": version for name, version in versions.items()})
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16], text


def environment_rows(moment: str, readings: Iterable[Reading]) -> list[dict[str, str | None]]:
    """Readings of one moment, `before` or `after` a job, as rows of the table `environment`."""
    return [{"moment": moment, "name": each.name, "value": each.value, "reason": each.reason} for each in readings]
