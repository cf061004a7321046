"""Where a network came from."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Info:
    """Where a network came from."""

    source: str  # Path of its file or folder.
    layout: str  # What was recognized, such as "official pickle of StyleGAN".
    arrays: dict[str, str] = dataclasses.field(default_factory=dict)  # Path of our array: its name in the file.
    missing: dict[str, str] = dataclasses.field(default_factory=dict)  # Our array that the file lacks: what stands in.
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)  # Array of the file that is not used: why.
    notes: tuple[str, ...] = ()  # What a user should know.
    license: str | None = None  # As its owner states it; None: not stated.
    nimg: int | None = None  # Real images that it was trained on, if known.

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.layout}; {len(self.arrays)} arrays read"]
        lines += [f"  note: {note}" for note in self.notes]
        for title, named in (("not in the file", self.missing), ("not used", self.left_out)):
            reasons: dict[str, list[str]] = {}
            for name, reason in named.items():
                reasons.setdefault(reason, []).append(name)
            lines += [f"  {title}: {_listed(names)}: {reason}" for reason, names in reasons.items()]
        return "\n".join(line[: len(line) - len(line.lstrip(" "))] + one_line(line) for line in lines)


def one_line(text: str) -> str:
    """Returns prose from a file as one line, without the characters that a terminal takes as orders."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
