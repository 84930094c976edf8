"""What clients may see of an explanation: nothing of what a rule conceals."""

from collections.abc import Iterator

import msgspec

from simple_repository_server.explanation import Answered, Explanation


def published(found: Explanation) -> Explanation:
    """The explanation without what rules conceal.

    A concealed project is explained as one that no source has. Where a rule might conceal, so is
    every project that no source has, without a word on the sources: the two must be the same.
    Concealed files are left out, and out of the counts of the components below.
    """
    hidden = found.answered is Answered.HIDDEN and any(node.concealed for node in _nodes(found))
    absent = found.answered is Answered.ABSENT and any(node.conceals for node in _nodes(found))
    if hidden or absent:
        return Explanation(component="this index", answered=Answered.ABSENT)
    concealed = {file.filename for node in _nodes(found) for file in node.hidden if file.conceal}
    return _visible(found, None, frozenset(concealed))


def _nodes(found: Explanation) -> Iterator[Explanation]:
    yield found
    for source in found.sources:
        yield from _nodes(source)


def _visible(node: Explanation, limit: int | None, concealed: frozenset[str]) -> Explanation:
    """The node as clients may see it: without the `concealed` files, whichever rule reports them.

    `limit`: show no more files, as some are concealed.
    """
    hidden = tuple(file for file in node.hidden if file.filename not in concealed)
    files = node.files if limit is None else min(node.files, limit)
    below = None
    if limit is not None or any(file.conceal for file in node.hidden):
        below = files + sum(not file.dry_run for file in hidden)
    return msgspec.structs.replace(
        node,
        files=files,
        hidden=hidden,
        concealed=False,
        conceals=False,
        sources=tuple(_visible(source, below, concealed) for source in node.sources),
    )
