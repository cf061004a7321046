"""Tables as text."""

from collections.abc import Sequence


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Returns `table`, the head first, as Markdown."""
    head, *rows = ("| " + " | ".join(cells) + " |" for cells in table)
    return "\n".join([head, "| " + " | ".join("---" for _ in table[0]) + " |", *rows])
