"""Lines of the table: what was compared with what, how far apart the two are, and how far they may be."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Line:
    """A comparison.

    Attributes:
        what: ours.
        against: what it was compared with.
        error: the largest difference; None if what is compared with is not at hand.
        bound: what a good error does not exceed, and the error of a mutation exceeds.
        is_mutation: our code was changed, so the comparison must fail.
    """

    what: str
    against: str
    error: float | None
    bound: float
    is_mutation: bool = False

    @property
    def is_good(self) -> bool:
        """Whether the error is where it should be. An error that is no number never is."""
        if self.error is None:
            return True
        return bool(self.error > self.bound if self.is_mutation else self.error <= self.bound)


def relative(ours: np.ndarray, reference: np.ndarray) -> float:
    """Returns the largest difference, as a share of the largest value of the reference."""
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    if ours.shape != reference.shape:
        raise ValueError(f"ours has the shape {list(ours.shape)}, the reference {list(reference.shape)}.")
    return float(np.max(np.abs(ours - reference)) / np.max(np.abs(reference)))


def each_relative(ours: np.ndarray, reference: np.ndarray) -> float:
    """Returns the largest of the relative differences."""
    return max(relative(a, b) for a, b in zip(np.ravel(ours), np.ravel(reference), strict=True))


def text(lines: Sequence[Line]) -> str:
    """Returns the lines as Markdown, mutations in a table of their own."""
    parts = [_table("error", "at most", [line for line in lines if not line.is_mutation])]
    mutations = [line for line in lines if line.is_mutation]
    if mutations:
        parts.append("## Mutations\n")
        parts.append(_table("error", "more than", mutations))
    return "\n".join(parts)


def _table(error: str, bound: str, lines: Iterable[Line]) -> str:
    rows = [f"| what | against | {error} | {bound} | |", "| --- | --- | --- | --- | --- |"]
    for line in lines:
        shown = "not at hand" if line.error is None else f"{line.error:.1e}"
        good, bad = ("seen", "**NOT SEEN**") if line.is_mutation else ("ok", "**FAILS**")
        verdict = "" if line.error is None else good if line.is_good else bad
        rows.append(f"| {line.what} | {line.against} | {shown} | {line.bound:.0e} | {verdict} |")
    return "\n".join(rows) + "\n"
