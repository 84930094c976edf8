"""What a page says it weighs is what it holds."""

import gc
import tracemalloc
from typing import Any

import msgspec
import pytest

from simple_repository_server.model import ProjectPage
from simple_repository_server.names import PackedNames, ProjectName, sorted_unique
from simple_repository_server.wire import json

FOO = ProjectName("foo")


def _text(count: int, file: dict[str, Any], **page: Any) -> bytes:
    files = [
        {
            "filename": f"foo-1.{n}-py3-none-any.whl",
            "url": f"https://files.example/packages/ab/cd/{n:060}/foo-1.{n}-py3-none-any.whl",
            "hashes": {"sha256": f"{n:064}"},
            **{key: value.replace("N", str(n)) for key, value in file.items() if key != "hashes"},
            **{key: value for key, value in file.items() if key == "hashes"},
        }
        for n in range(count)
    ]
    return msgspec.json.encode({"meta": {"api-version": "1.4"}, "files": files, **page})


HASHES = {"sha256": "0" * 64, "sha512": "0" * 128, "md5": "0" * 32, "sha1": "0" * 40}
TEXTS = {
    "usual": _text(2_000, {"requires-python": ">=3.N"}),
    "long": _text(20, {"requires-python": "N" + "x" * 50_000, "yanked": "N" + "ä" * 50_000}),
    "wide": _text(20, {"yanked": "N\N{SNAKE}" + "x" * 50_000}),
    "hashes": _text(500, {"hashes": HASHES}),
    "provenance": _text(1_000, {"provenance": "https://example/integrity/N/" + "p" * 200}),
    "versions": _text(1, {}, versions=[f"{n}.0" for n in range(20_000)]),
    "status": _text(1, {}, **{"project-status": {"status": "archived", "reason": "r" * 100_000}}),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_page_weighs_what_it_holds(text: bytes) -> None:
    """No less than nine tenths of it, and no more than half as much again (and what is a page)."""

    def read() -> ProjectPage:
        return json.read_page(text, project=FOO, base="https://x.example/foo/").page

    read()
    gc.collect()
    tracemalloc.start()
    page = read()
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 0.9 * held < page.weight < 1.5 * held + 3_000


def test_private_values_weigh_what_they_hold() -> None:
    """What a component adds to a page of its own, however deep, is weighed as well."""
    gc.collect()
    tracemalloc.start()
    private = {"_all": [[f"y{n}"] for n in range(5_000)], "_deep": {"a": {"b": "x" * 100_000}}}
    page = ProjectPage(name=FOO, files=(), private=private)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 0.9 * held < page.weight < 1.5 * held + 3_000


def test_a_page_with_other_files_is_weighed_anew() -> None:
    """A page that was copied does not inherit the weight of the one it was copied from."""
    page = json.read_page(TEXTS["usual"], project=FOO, base="https://x.example/").page
    assert page.weight > 1_000_000
    assert msgspec.structs.replace(page, files=page.files[:1]).weight < page.weight / 10


def test_a_list_weighs_what_it_holds() -> None:
    """Many names are packed, and weigh what their letters do."""
    names = sorted_unique(ProjectName(f"name-{n:06}") for n in range(50_000))
    assert isinstance(names, PackedNames)
    assert 12 * 50_000 <= names.size < 13 * 50_000
