"""Where a store lies: a folder of this machine, or a prefix of a bucket that speaks S3.

Both are reached through a file system of pyarrow. An S3 URI is that of pyarrow: `s3://bucket/prefix`, with options as
its query (`?endpoint_override=127.0.0.1:9000&scheme=http&region=...`); credentials come from the usual environment
variables and files of AWS.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any

from harness.atomic_files import replacing_file
from harness.errors import StoreError, UsageError
from harness.store.mark import temporary

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_S3 = "s3://"
# `gs://`, `file:/`: pyarrow takes a folder of such a name for the address of another file system.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
# More partitions than that are found in one listing of a whole table, a thousand names a request.
_FEW = 16
# `AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 7, ...`
_AWS_ERROR = re.compile(r"AWS Error (.+?) (during \w+) operation")


class S3Folder(PosixPath):
    """A results folder that is a prefix of a bucket: passed on like any other, and opened by the store alone.

    Whatever would use it as a folder of this machine gets a UsageError.
    """

    def __str__(self) -> str:
        # A path has fewer slashes than the URI.
        return _S3 + super().__str__().removeprefix("s3:").lstrip("/")

    def __fspath__(self) -> str:
        raise UsageError(
            f"This needs a folder of this machine, and {str(self).partition('?')[0]} is none.",
            "Give a local folder; `harness run`, `compare`, `table` and `report` take a bucket.",
        )


def is_bucket(text: object) -> bool:
    """Whether a name given for the results is the URI of a bucket."""
    return str(text).startswith(_S3)


def results_folder(name: str | Path) -> Path:
    """What `--results` names. Raises UsageError for what is neither a folder of this machine nor a bucket."""
    if isinstance(name, (str, Path)) and is_bucket(name):
        return S3Folder(str(name))
    if not isinstance(name, (str, Path)) or not str(name) or "\0" in str(name):
        raise UsageError(f"results is {name!r}, which names no folder.", "Give a folder, or s3://BUCKET/PREFIX.")
    if _SCHEME.match(str(name)):
        raise UsageError(
            f"{name} is neither a folder nor a bucket that harness can open.", "Give a folder, or s3://BUCKET/PREFIX."
        )
    return Path(name)


def is_local(results: Path) -> bool:
    """Whether it is a folder of this machine."""
    return not isinstance(results, S3Folder)


def file_system(results: Path) -> tuple[FileSystem, str]:
    """The file system, and the results folder's path in it. Raises UsageError for a URI that it does not take."""
    return _opened(str(results)) if not is_local(results) else (_local(), os.fspath(results))


def list_files(results: Path, table: str, partitions: Collection[tuple[str, str]] | None = None) -> list[str]:
    """The paths of a table's data files relative to its folder (`date=D/target=T/NAME.parquet`), sorted; of all
    `partitions` (date and target) or only these.

    Names that begin with a dot or an underscore are work in hand. It is what was there at one moment, even while
    others write and delete: a listing is believed when the next is the same. Raises StoreError.
    """
    folders = None if partitions is None else [f"date={date}/target={target}" for date, target in sorted(partitions)]
    try:
        with reaching(results):
            before, listed = None, _listed(results, table, folders)
            while listed != before:
                before, listed = listed, _listed(results, table, folders)
    except OSError as error:
        raise StoreError(
            f"{results} cannot be read ({why(error)}).", "Give a folder you may read with --results."
        ) from error
    return listed


def delete(results: Path, path: str) -> None:
    """Delete a file by its path in the file system; one that is gone already is no error. Raises OSError."""
    with suppress(FileNotFoundError):
        if is_local(results):
            os.unlink(path)
        else:
            file_system(results)[0].delete_file(path)


def put_file(results: Path, path: str, data: bytes | memoryview) -> None:
    """Write a file at `path` below the results; it appears whole or not at all. Raises OSError."""
    if not is_local(results):
        files, root = file_system(results)
        with files.open_output_stream(f"{root}/{path}") as stream:
            stream.write(data)
        return
    final = results / path
    final.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(final, temporary(final)) as file:
        file.write(data)


def sizes(results: Path, paths: Sequence[str]) -> int:
    """The bytes of these files in all, by their paths in the file system; none for one that is gone."""
    with reaching(results):
        return sum(info.size or 0 for info in file_system(results)[0].get_file_info(list(paths)))


@contextmanager
def reaching(results: Path) -> Iterator[None]:
    """Turns what a bucket's endpoint says into a StoreError; errors of local files pass."""
    try:
        yield
    except OSError as error:
        if is_local(results) or isinstance(error, FileNotFoundError):
            raise
        raise StoreError(
            f"{results} cannot be reached ({why(error)}).", "Check the address, the credentials and the network."
        ) from error


def why(error: OSError) -> str:
    """The cause in a few words: the system's, or what AWS calls it and during which operation."""
    match = _AWS_ERROR.search(str(error))
    return " ".join(match.groups()) if match else error.strerror or str(error).splitlines()[0]


def _listed(results: Path, table: str, folders: Sequence[str] | None) -> list[str]:
    walk = _walk_local if is_local(results) else _walk_bucket
    return sorted(name for name in walk(results, table, folders) if _is_data(name))


def _walk_local(results: Path, table: str, folders: Sequence[str] | None) -> Iterator[str]:
    """Quicker than pyarrow's, which asks for the size of each file."""
    root = os.path.join(results, table)
    if folders is None:
        folders = [f"{date}/{target}" for date in _names(root) for target in _names(os.path.join(root, date))]
    for folder in folders:
        yield from (f"{folder}/{name}" for name in _names(os.path.join(root, folder)))


def _walk_bucket(results: Path, table: str, folders: Sequence[str] | None) -> Iterator[str]:
    from pyarrow.fs import FileSelector, FileType

    files, root = file_system(results)
    if folders is not None and len(folders) > _FEW:
        wanted = set(folders)
        yield from (name for name in _walk_bucket(results, table, None) if name.rpartition("/")[0] in wanted)
        return
    for folder in [""] if folders is None else folders:
        selector = FileSelector(f"{root}/{table}/{folder}".rstrip("/"), recursive=True, allow_not_found=True)
        for info in files.get_file_info(selector):
            if info.type == FileType.File:
                yield info.path[len(root) + len(table) + 2 :]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # no folder has such a name
            return []
        raise


def _is_data(name: str) -> bool:
    date, target, file = [*name.split("/"), "", ""][:3]
    partition = date.startswith("date=") and target.startswith("target=")
    return partition and name.count("/") == 2 and file.endswith(".parquet") and file[0] not in "._"


def _local() -> FileSystem:
    from pyarrow.fs import LocalFileSystem

    return LocalFileSystem()


@cache
def _opened(uri: str) -> tuple[Any, str]:
    import pyarrow as pa
    from pyarrow.fs import FileSystem

    if "@" in uri.removeprefix(_S3).partition("/")[0]:
        raise UsageError(
            "The URI of the bucket has credentials in it, and would be printed with every message.",
            "Give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in ~/.aws/credentials.",
        )
    if not uri.removeprefix(_S3).partition("?")[0].strip("/"):
        raise UsageError(f"{uri} names no bucket.", "Write s3://BUCKET/PREFIX.")
    try:
        files, root = FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(
            f"{uri} is no bucket that can be opened ({str(error).splitlines()[0]}).",
            "Write s3://BUCKET/PREFIX, with ?endpoint_override=HOST:PORT&scheme=http for a server of your own.",
        ) from error
    return files, root.rstrip("/")
