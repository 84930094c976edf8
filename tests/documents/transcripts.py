"""Examples in documents: configuration files, and what a client gets from a server with them."""

import http.client
import json
import re
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tests.serving import Server, comes_true

#: In a document, what differs from run to run: dates, most of all.
_ANY = "…"
_SETTLED_S = 10.0


class Exchange(msgspec.Struct, frozen=True):
    """A request in a document, and what the document says is answered."""

    path: str
    answer: str


def toml_blocks(path: Path) -> list[str]:
    """The configuration files in a document."""
    return re.findall(r"```toml\n(.*?)```", path.read_text(), re.DOTALL)


def exchanges(path: Path) -> list[Exchange]:
    """The requests and answers in the `http` blocks of a document."""
    found = []
    for block in re.findall(r"```http\n(.*?)```", path.read_text(), re.DOTALL):
        for one in block.strip().split("\n\n"):
            request, *lines = one.splitlines()
            method, target = request.split()
            assert method == "GET"
            found.append(Exchange(target, " ".join(line.strip() for line in lines)))
    return found


def answer_of(server: Server, path: str) -> str:
    """What the server answers, as documents write it: the status, then the files or a sentence."""
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)) as connection:
        connection.request("GET", path, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
        response = connection.getresponse()
        body = response.read()
    if response.status != http.client.OK:
        return f"{response.status} {_sentence(body)}".strip()
    if "json" not in response.headers.get("Content-Type", ""):
        return "200"
    answer = json.loads(body)
    if "projects" in answer:
        return "200 " + ", ".join(project["name"] for project in answer["projects"])
    if "files" not in answer:
        return "200"
    return f"200 {_page(answer)}"


def differences(server: Server, documented: list[Exchange]) -> dict[str, tuple[str, str]]:
    """The documented and the actual answer where they differ, by path.

    Advisories are read in the background: until that is done, answers may be others.
    """
    found: dict[str, tuple[str, str]] = {}

    def settled() -> bool:
        answers = {one.path: (one.answer, answer_of(server, one.path)) for one in documented}
        found.clear()
        found.update({path: pair for path, pair in answers.items() if not same(*pair)})
        return not found

    comes_true(settled, _SETTLED_S)
    return found


def same(documented: str, answered: str) -> bool:
    """Whether an answer is the documented one, where `…` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in documented.split(_ANY))
    return re.fullmatch(pattern, answered) is not None


def _sentence(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return ""


def _page(page: dict[str, object]) -> str:
    """The files of a page, behind the status of the project if that is not the usual one."""
    files = page["files"]
    assert isinstance(files, list)
    shown = ", ".join(_file(file) for file in files) or "no files"
    status = page.get("project-status")
    if not isinstance(status, dict) or status["status"] == "active":
        return shown
    reason = f" ({status['reason']})" if status.get("reason") else ""
    return f"{status['status']}{reason}: {shown}"


def _file(file: dict[str, object]) -> str:
    yanked = file.get("yanked")
    if not yanked:
        return str(file["filename"])
    return f"{file['filename']} (yanked{f': {yanked}' if isinstance(yanked, str) else ''})"
