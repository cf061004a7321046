"""Text from files and names, as a terminal may show it."""


def printable(text: str) -> str:
    """Returns a text with escapes for bytes that are not UTF-8, line breaks and what would command a terminal."""

    def escape(c: str) -> str:
        return f"\\x{ord(c) & 0xFF:02x}" if "\udc80" <= c <= "\udcff" else ascii(c)[1:-1]

    return "".join(c if c.isprintable() else escape(c) for c in text)
