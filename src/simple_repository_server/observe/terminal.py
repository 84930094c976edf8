"""Texts that are safe for a terminal, also with text from clients, indexes and file names."""


def printable(text: object) -> str:
    """The text with each character that a terminal might act on replaced by `�`."""
    line = str(text)
    return line if line.isprintable() else "".join(c if c.isprintable() else "�" for c in line)
