"""The device's side of adb on loopback, for the real `adb` client: `python adbd.py --root FOLDER [options]`.

Prints its port, then serves until it is killed: connect, shell (version 2: two outputs, exit codes, an open standard
input) and sync (stat, send, receive). Commands run by `/bin/sh` with FOLDER as their root, in a user namespace.

--unauthorized: it never accepts a key.   --room BYTES: what may be pushed before its disk is full.
--mute WORD: the stream of a command with WORD in it ends without an exit code, as those of some devices do.

The protocol: packages/modules/adb/{protocol.txt, SYNC.TXT, shell_protocol.h} of AOSP.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import stat
import struct
from collections.abc import Awaitable
from pathlib import Path

CNXN, OPEN, OKAY, WRTE, CLSE, AUTH = (
    int.from_bytes(name, "little") for name in (b"CNXN", b"OPEN", b"OKAY", b"WRTE", b"CLSE", b"AUTH")
)
VERSION, LONGEST = 0x01000001, 256 * 1024
BANNER = b"device::ro.product.name=fake;ro.product.model=Fake_Phone;ro.product.device=fake;features=shell_v2,cmd"
AUTH_TOKEN = 1
# By their paths, since the environment is the device's.
UNSHARE, CHROOT = shutil.which("unshare") or "unshare", shutil.which("chroot") or "chroot"
# Packets within a shell stream of version 2.
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


class Stream:
    """Bytes in order, one unacknowledged packet at a time."""

    def __init__(self, connection: Connection, local: int, remote: int) -> None:
        self.connection, self.local, self.remote = connection, local, remote
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.pending = b""
        self.acknowledged = asyncio.Event()
        self.acknowledged.set()
        self.closed = False

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), self.connection.longest):
            await self.acknowledged.wait()
            if self.closed:
                return
            self.acknowledged.clear()
            await self.connection.send(WRTE, self.local, self.remote, data[start : start + self.connection.longest])

    async def read(self, count: int) -> bytes:
        """Exactly so many bytes; none once the stream has ended."""
        while len(self.pending) < count:
            if (data := await self.incoming.get()) is None:
                self.incoming.put_nowait(None)
                return b""
            self.pending += data
        found, self.pending = self.pending[:count], self.pending[count:]
        return found

    async def close(self) -> None:
        if not self.closed:
            await self.acknowledged.wait()
            self.closed = True
            await self.connection.send(CLSE, self.local, self.remote)

    def end(self) -> None:
        """The other side closed it."""
        self.closed = True
        self.acknowledged.set()
        self.incoming.put_nowait(None)


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, device: Device) -> None:
        self.reader, self.writer, self.device = reader, writer, device
        self.longest = LONGEST
        self.streams: dict[int, Stream] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.opened = 0

    async def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        head = struct.pack("<6I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        self.writer.write(head + data)
        await self.writer.drain()

    async def serve(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                command, first, second, length, _, _ = struct.unpack("<6I", await self.reader.readexactly(24))
                await self.take(command, first, second, await self.reader.readexactly(length))
        for stream in self.streams.values():
            stream.end()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.writer.close()

    async def take(self, command: int, first: int, second: int, data: bytes) -> None:
        stream = self.streams.get(second)
        if command in (CNXN, AUTH) and not self.device.authorized:
            await self.send(AUTH, AUTH_TOKEN, 0, bytes(20))
        elif command == CNXN:
            self.longest = min(second, LONGEST)
            await self.send(CNXN, VERSION, LONGEST, BANNER)
        elif command == OPEN:
            self.opened += 1
            stream = self.streams[self.opened] = Stream(self, self.opened, first)
            task = asyncio.create_task(self.run(stream, data.rstrip(b"\0").decode()))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif command == WRTE and stream:
            stream.incoming.put_nowait(data)
            await self.send(OKAY, stream.local, stream.remote)
        elif command == OKAY and stream:
            stream.acknowledged.set()
        elif command == CLSE and stream:
            stream.end()
            del self.streams[second]

    async def run(self, stream: Stream, service: str) -> None:
        kind, _, argument = service.partition(":")
        serve: Awaitable[None] | None = None
        if kind.startswith("shell,v2"):
            serve = shell(stream, self.device, argument)
        elif kind == "sync":
            serve = sync(stream, self.device)
        with contextlib.suppress(ConnectionError):
            if serve is None:
                await self.send(CLSE, 0, stream.remote)
                return
            await self.send(OKAY, stream.local, stream.remote)
            await serve
            await stream.close()


class Device:
    """What all connections share."""

    def __init__(self, root: Path, *, authorized: bool, room: int | None, mute: str | None) -> None:
        self.root, self.authorized, self.room, self.mute = root, authorized, room, mute

    def path(self, name: str) -> Path:
        return self.root / os.path.normpath("/" + name).lstrip("/")

    def take_room(self, count: int) -> None:
        if self.room is not None:
            self.room -= count
            if self.room < 0:
                raise OSError("couldn't write file: No space left on device")


async def shell(stream: Stream, device: Device, command: str) -> None:
    """A command and its three streams. When the client goes, so does the shell: adbd sends it SIGHUP, and no more."""
    process = await asyncio.create_subprocess_exec(
        *(UNSHARE, "--map-root-user", CHROOT, str(device.root), "/bin/sh", "-c", command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/bin", "HOME": "/", "TMPDIR": "/data/local/tmp"},
    )
    assert process.stdin is not None

    async def feed(stdin: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while head := await stream.read(5):
                kind, length = struct.unpack("<BI", head)
                data = await stream.read(length)
                if kind == STDIN:
                    stdin.write(data)
                    await stdin.drain()
                elif kind == CLOSE_STDIN:
                    stdin.close()
        if not head and process.returncode is None:
            stdin.close()
            process.send_signal(signal.SIGHUP)

    async def drain(output: asyncio.StreamReader, kind: int) -> None:
        while data := await output.read(32768):
            await stream.write(struct.pack("<BI", kind, len(data)) + data)

    assert process.stdout is not None
    assert process.stderr is not None
    feeding = asyncio.create_task(feed(process.stdin))
    outputs = [drain(process.stdout, STDOUT), drain(process.stderr, STDERR)]
    if device.mute is not None and device.mute in command:
        await process.wait()
        feeding.cancel()
        for output in outputs:
            output.close()
        return
    await asyncio.gather(*outputs)
    code = await process.wait()
    feeding.cancel()
    await stream.write(struct.pack("<BIB", EXIT, 1, code & 0xFF if code >= 0 else 128 - code))


async def sync(stream: Stream, device: Device) -> None:
    """Files, one request after the other."""
    while head := await stream.read(8):
        request, length = head[:4], struct.unpack("<I", head[4:])[0]
        if request == b"QUIT":
            return
        name = (await stream.read(length)).decode()
        try:
            if request == b"STAT":
                await stream.write(b"STAT" + _stat(device.path(name)))
            elif request == b"SEND":
                await receive(stream, device, name)
            else:
                raise OSError(f"unknown request {request.decode(errors='replace')}")
        except OSError as error:
            message = str(error).encode()
            await stream.write(b"FAIL" + struct.pack("<I", len(message)) + message)


async def receive(stream: Stream, device: Device, request: str) -> None:
    """A file that is pushed. What was written before an error is removed, as adbd does."""
    name, _, mode = request.rpartition(",")
    path, failure = device.path(name), None
    with path.open("wb") as file:
        while (head := await stream.read(8))[:4] == b"DATA":
            data = await stream.read(struct.unpack("<I", head[4:])[0])
            try:
                if failure is None:
                    device.take_room(len(data))
                    file.write(data)
            except OSError as error:
                failure = error
    if failure is not None or not head:
        path.unlink()
        raise failure or OSError("connection lost")
    path.chmod(stat.S_IMODE(int(mode)))
    await stream.write(b"OKAY" + bytes(4))


def _stat(path: Path) -> bytes:
    try:
        found = path.lstat()
    except OSError:
        return bytes(12)
    return struct.pack("<III", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--unauthorized", action="store_true")
    parser.add_argument("--room", type=int)
    parser.add_argument("--mute")
    given = parser.parse_args()
    device = Device(given.root, authorized=not given.unauthorized, room=given.room, mute=given.mute)
    server = await asyncio.start_server(lambda r, w: Connection(r, w, device).serve(), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
