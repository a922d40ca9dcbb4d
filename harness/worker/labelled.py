"""Labelled data: samples in a file of inputs, whose first dimension counts them, and for each the class that it belongs
to, or the numbers that a model should give for it.

A model runs over all samples in its batch size. The last batch may be incomplete: it is filled up with copies of the
last sample, whose outputs are ignored, so that models of fixed sizes need no other data.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from harness.errors import UsageError
from harness.model_description import Input, is_tensor
from harness.protocol import Scalar
from harness.worker.given_inputs import describe_input, fit_inputs, read_entries

TOP = 5
_LEAST_CLASSES = TOP + 1  # of five classes every answer is among the five most likely
_HOW = "Write classes as integers with numpy.save, one for each sample, or the numbers to give as floats [N, ...]."
Labels = npt.NDArray[np.int64] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelledSamples:
    """The samples of a file: for each input of a method a tensor [count, ...], or a number that all share. `batch` is
    how many go into one execute.
    """

    path: Path
    inputs: Sequence[Input]
    entries: Sequence[Any]
    count: int
    batch: int

    def __len__(self) -> int:
        """The number of batches."""
        return math.ceil(self.count / self.batch)

    def batches(self) -> Iterator[tuple[Any, ...]]:
        """The inputs of each execute, in order. Raises UsageError naming an input that does not fit the method."""
        for begin in range(0, self.count, self.batch):
            rows = [
                self._rows(entry, begin) if is_tensor(meta) else entry
                for entry, meta in zip(self.entries, self.inputs, strict=True)
            ]
            yield fit_inputs(self.path, rows, self.inputs)

    def _rows(self, entry: Any, begin: int) -> Any:
        import torch

        rows = entry[begin : begin + self.batch]
        missing = self.batch - len(rows)
        return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows.clone()


def read_samples(path: Path, inputs: Sequence[Input], sizes: Sequence[Sequence[int]]) -> LabelledSamples:
    """The samples in the file at `path` for a method that declares `inputs` and is run with inputs of these `sizes`,
    the first of which is the batch.

    Raises UsageError where the file cannot be read, or an array in it is not one of samples.
    """
    entries = read_entries(path, inputs)
    tensors = [index for index, meta in enumerate(inputs) if is_tensor(meta)]
    counts = set()
    for index in tensors:
        shape = list(getattr(entries[index], "shape", ()))
        if not shape or not sizes[index] or shape[1:] != list(sizes[index][1:]):
            raise UsageError(
                f"Array {index} of {path} has the sizes {shape}, the model takes {describe_input(inputs[index])}.",
                f"With labels it must hold samples: [N, {', '.join(map(str, sizes[index][1:]))}].",
            )
        counts.add(shape[0])
    if len(counts) != 1 or 0 in counts:
        raise UsageError(
            f"The arrays of {path} hold {' and '.join(map(str, sorted(counts))) or 'no'} samples.",
            "Give arrays whose first dimension is the same number of samples.",
        )
    batches = {int(sizes[index][0]) for index in tensors}
    if len(batches) != 1 or 0 in batches:
        raise UsageError(
            f"The inputs of the model have the first sizes {', '.join(map(str, sorted(batches)))}, which are no batch.",
            "Leave out --labels.",
        )
    return LabelledSamples(path, inputs, entries, counts.pop(), batches.pop())


def read_labels(path: Path) -> Labels:
    """The classes in an `.npy`, or in an `.npz` of one array, [N]; or the numbers that a model should give, [N, ...].
    Raises UsageError for anything but integers from 0 in one dimension, or finite floats.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = [loaded] if isinstance(loaded, np.ndarray) else [loaded[name] for name in loaded.files]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read as an .npy or .npz array ({error}).", _HOW) from error
    if len(arrays) != 1:
        raise UsageError(f"{path} holds {len(arrays)} arrays, not one of labels.", _HOW)
    labels = arrays[0]
    if np.issubdtype(labels.dtype, np.floating) and labels.ndim:
        if not np.isfinite(labels).all():
            raise UsageError(f"{path} has numbers that are not finite.", "Give numbers that a model can give.")
        return labels.astype(np.float64)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(f"{path} is {labels.dtype} {list(labels.shape)}, not integers in one dimension.", _HOW)
    if labels.size and labels.min() < 0:
        raise UsageError(f"{path} has the label {labels.min()}, but classes are counted from 0.", _HOW)
    return labels.astype(np.int64)


def check_count(labels: Labels, path: Path, samples: Path, count: int) -> None:
    """Raises UsageError where the labels of the file at `path` are not one for each of the `count` in `samples`."""
    if len(labels) != count:
        raise UsageError(
            f"{path} has {len(labels)} labels, {samples} has {count} samples.", "Give one for each sample."
        )


def check_labels(path: Path, samples: Path, inputs: Sequence[Input]) -> None:
    """Before anything is measured: raises UsageError where the file of labels or that of samples cannot be read, or
    they are not equally many.
    """
    labels = read_labels(path)
    for entry, meta in zip(read_entries(samples, inputs), inputs, strict=True):
        if is_tensor(meta) and len(getattr(entry, "shape", ())):
            check_count(labels, path, samples, entry.shape[0])


class Marks(Protocol):
    """How well a model does on labelled samples, batch by batch."""

    def add(self, scores: np.ndarray | None) -> None:
        """The first output of the next batch, None where it is no array; what is beyond the last sample is ignored.
        Raises UsageError for labels that the output cannot be set against.
        """
        ...

    def scalars(self) -> list[Scalar]:
        """What came out, null with a reason where it is not known."""
        ...


def marks_of(labels: Labels) -> Marks:
    """Accuracy where the labels are classes, and else the mean squared error."""
    if np.issubdtype(labels.dtype, np.integer):
        return Accuracy(labels.astype(np.int64))
    return SquaredError(labels.astype(np.float64))


class SquaredError:
    """The mean squared error of a model's first output next to the numbers [N, ...] that it should give."""

    def __init__(self, wanted: npt.NDArray[np.float64]) -> None:
        self._wanted, self._seen, self._total = wanted, 0, 0.0
        self._unknown: str | None = None

    def add(self, scores: np.ndarray | None) -> None:
        """As `Marks.add`: a row of numbers for each sample, as many as in a row of the labels."""
        wanted = self._wanted[self._seen :]
        if self._unknown is not None or not len(wanted):
            return
        numbers = 0 if scores is None or not scores.ndim else scores.size // max(1, len(scores))
        if scores is None or not scores.ndim or numbers != wanted[0].size:
            sizes = "is no array" if scores is None else f"has the sizes {list(scores.shape)}"
            self._unknown = f"the first output {sizes}, and the labels {list(self._wanted.shape)}"
            return
        rows = scores.reshape(len(scores), -1)[: len(wanted)].astype(np.float64)
        if not np.isfinite(rows).all():
            self._unknown = "some outputs are not finite"
            return
        self._total += float(np.square(rows - wanted[: len(rows)].reshape(len(rows), -1)).sum())
        self._seen += len(rows)

    def scalars(self) -> list[Scalar]:
        """`mean_squared_error` and `labelled_samples`."""
        if self._unknown is not None:
            return [Scalar(name="mean_squared_error", value=None, reason=self._unknown)]
        return [
            Scalar(name="mean_squared_error", value=self._total / self._wanted[: self._seen].size),
            Scalar(name="labelled_samples", value=self._seen),
        ]


class Accuracy:
    """Counts how many samples a model gets right, batch by batch. `labels` are the classes of all samples [N]."""

    def __init__(self, labels: npt.NDArray[np.int64]) -> None:
        self._labels = labels
        self._ranks: list[npt.NDArray[np.int64]] = []
        self._classes = 0
        self._unknown: str | None = None

    def add(self, scores: np.ndarray | None) -> None:
        """The first output of the next batch, of which the last dimension are the scores of the classes; None where it
        is no array. Scores beyond the last sample are ignored. Raises UsageError for a label that is no class.
        """
        labels = self._labels[sum(map(len, self._ranks)) :]
        if self._unknown is not None or not len(labels):
            return
        if (
            scores is None
            or scores.ndim < 2
            or scores.shape[-1] < 2
            or scores.size != scores.shape[0] * scores.shape[-1]
        ):
            sizes = "is no array" if scores is None else f"has the sizes {list(scores.shape)}"
            self._unknown = f"the first output {sizes}: no row of scores of classes for each sample"
            return
        rows = scores.reshape(len(scores), -1)[: len(labels)].astype(np.float64)
        labels = labels[: len(rows)]
        if not np.isfinite(rows).all():
            self._unknown = "some outputs are not finite"
            return
        self._classes = rows.shape[1]
        if labels.max() >= self._classes:
            raise UsageError(
                f"There is a label {labels.max()}, but the model has {self._classes} classes.",
                "Give the labels in the model's own classes, counted from 0.",
            )
        own = rows[np.arange(len(rows)), labels][:, None]
        # Of equal scores the first is the answer, as argmax has it: an int8 model has many.
        before = np.arange(self._classes) < labels[:, None]
        self._ranks.append(((rows > own) | ((rows == own) & before)).sum(axis=1))

    def scalars(self) -> list[Scalar]:
        """`accuracy_top1`, `accuracy_top5` and `labelled_samples`, null with a reason where they are not known."""
        names = ("accuracy_top1", "accuracy_top5", "labelled_samples")
        if self._unknown is not None:
            return unmeasured_accuracy(self._unknown)
        ranks = np.concatenate(self._ranks)
        top5: float | None = float((ranks < TOP).mean())
        few = None
        if self._classes < _LEAST_CLASSES:
            top5, few = None, f"there are only {self._classes} classes: it takes {_LEAST_CLASSES}"
        values = (float((ranks < 1).mean()), top5, len(ranks))
        reasons = (None, few, None)
        return [
            Scalar(name=name, value=value, reason=why) for name, value, why in zip(names, values, reasons, strict=True)
        ]


def unmeasured_accuracy(reason: str) -> list[Scalar]:
    """That accuracy could not be measured, and why."""
    return [Scalar(name=name, value=None, reason=reason) for name in ("accuracy_top1", "accuracy_top5")]
