"""Texts that are safe for a terminal, whatever clients, indexes and file names put into them."""


def printable(text: object) -> str:
    """The text with each character that a terminal might act on replaced by `�`."""
    line = str(text)
    return line if line.isprintable() else "".join(c if c.isprintable() else "�" for c in line)
