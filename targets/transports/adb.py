"""The way to an Android device: the `adb` client, with its server, its keys and its serial numbers."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

from harness.errors import WorkerError

PROGRAM = "adb"
FOLDER = "/data/local/tmp/harness"
_SERVER_PORT = 5037
_LIMIT_S = 30.0
# How the interface of a device with USB debugging describes itself: class, subclass, protocol.
_USB = ("ff", "42", "01")


def attached() -> dict[str, str]:
    """Serial number and state (`device`, `unauthorized`, `offline`, ...) of every device that adb sees. Starts adb's
    server. Raises WorkerError `device` where there is no adb, or where it fails.
    """
    if shutil.which(PROGRAM) is None:
        raise WorkerError("device", "adb is not installed.", "`apt-get install adb`, or Android's platform-tools.")
    try:
        # By itself: a server that is started by another command would hold that command's pipes.
        nowhere = subprocess.DEVNULL
        subprocess.run(
            [PROGRAM, "start-server"], stdin=nowhere, stdout=nowhere, stderr=nowhere, check=True, timeout=_LIMIT_S
        )
        printed = subprocess.run(
            [PROGRAM, "devices"], capture_output=True, text=True, timeout=_LIMIT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise WorkerError("device", "adb's server does not start.", "`adb start-server` says more.") from error
    rows = (line.split("\t", 1) for line in printed.splitlines() if "\t" in line)
    return {serial: state.strip() for serial, state in rows}


def may_be_attached() -> bool:
    """Whether asking adb is worth it: its server runs, or something with USB debugging is plugged in. Starting a server
    on a machine that never saw a phone would be rude.
    """
    if shutil.which(PROGRAM) is None:
        return False
    try:
        port = int(os.environ.get("ANDROID_ADB_SERVER_PORT", _SERVER_PORT))
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except (OSError, ValueError, OverflowError):
        return any(_is_debugged(folder) for folder in Path("/sys/bus/usb/devices").glob("*:*"))


def _is_debugged(interface: Path) -> bool:
    names = ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
    try:
        return tuple((interface / name).read_text().strip() for name in names) == _USB
    except OSError:
        return False


def choose(serial: str | None) -> str:
    """The serial number of the device that is meant: `serial` (or $ANDROID_SERIAL), or the only one attached. Raises
    WorkerError `device` when that is none, more than one, or one that does not let us in.
    """
    serials = attached()
    wanted = serial or os.environ.get("ANDROID_SERIAL") or None
    if wanted is None and len(serials) > 1:
        raise WorkerError(
            "device",
            f"{len(serials)} Android devices are attached: {', '.join(serials)}.",
            f"Choose one: --device adb:{next(iter(serials))}",
        )
    if wanted is None and not serials:
        raise WorkerError(
            "device", "No Android device is attached.", "Plug one in with USB debugging on; `adb devices` must list it."
        )
    chosen = wanted if wanted is not None else next(iter(serials))
    if (state := serials.get(chosen)) != "device":
        raise _not_ready(chosen, state)
    return chosen


def _not_ready(serial: str, state: str | None) -> WorkerError:
    if state is None:
        todo = f"`adb connect {serial}`." if ":" in serial else "Plug it in; `adb devices` must list it."
        return WorkerError("device", f"adb sees no device {serial}.", todo)
    if state in ("unauthorized", "authorizing"):
        return WorkerError(
            "device",
            f"The device {serial} has not authorised this computer.",
            f"Unlock it and allow USB debugging; then `adb -s {serial} get-state` says `device`.",
        )
    if state.startswith("no permissions"):
        return WorkerError(
            "device",
            f"This user may not open the device {serial}.",
            "`apt-get install android-sdk-platform-tools-common`, then plug it in again.",
        )
    return WorkerError("device", f"The device {serial} is {state}.", "`adb reconnect offline`, or plug it in again.")


class Adb:
    """A device by its serial number; None for the only one attached. A `Link`."""

    def __init__(self, serial: str | None = None, *, name: str | None = None, folder: str | None = None) -> None:
        self._serial, self._name, self._chosen = serial, name, ""
        self.folder = shlex.quote(folder or FOLDER)

    def device(self) -> str:
        """The name it was given, or its serial number, which is asked for once."""
        if not (self._name or self._serial or self._chosen):
            with contextlib.suppress(WorkerError):
                self._chosen = choose(None)
        return self._name or f"adb {self._chosen or self._serial or 'device'}"

    def shell(self, script: str) -> list[str]:
        """As `Link.shell`; -T: no terminal, which would mix the two outputs and edit them."""
        return [*self._client(), "shell", "-T", script]

    def push(self, file: Path, path: str) -> list[str]:
        """As `Link.push`."""
        return [*self._client(), "push", str(file.absolute()), path]

    def explain(self, stderr: str) -> WorkerError:
        """As `Link.explain`: what adb says of the device now, when that is the reason."""
        serial, self._chosen = self._chosen, ""
        try:
            choose(serial or self._serial)
        except WorkerError as error:
            if serial:
                return WorkerError("device", f"{self.device()} went away: {_lower(error.message)}", error.hint)
            return error
        why = (stderr.strip().splitlines() or ["its stream ended"])[-1].rstrip(".")
        return WorkerError(
            "device",
            f"{self.device()} went away ({why}).",
            "Check its cable and run the same again: what was sent and measured is kept.",
        )

    def _client(self) -> list[str]:
        if not self._chosen:
            self._chosen = choose(self._serial)
        return [PROGRAM, "-s", self._chosen]


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
