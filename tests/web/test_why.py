"""`/why/PROJECT`: who answered what, for people and machines, and nothing that is concealed."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from simple_repository_server import (
    AllowListRepository,
    DenyRule,
    HttpRepository,
    LocalRepository,
    MergedRepository,
    MetadataInjectorRepository,
    PrioritySelectedProjectsRepository,
    QuarantineOverlay,
    RuleRepository,
    create_app,
)
from simple_repository_server.explanation import Answered, Explanation, HiddenFile
from simple_repository_server.names import ProjectName
from simple_repository_server.sources.memory import MemoryRepository
from simple_repository_server.testing import Reply, Upstream, build_wheel, publish_json
from simple_repository_server.upstream.client import Limits
from simple_repository_server.web.concealment import published
from simple_repository_server.web.index import IndexApp
from tests.asgi import ask
from tests.hiding import REASON, RULE, Hiding

pytestmark = pytest.mark.anyio
QUICK = Limits(connect_s=0.5, idle_s=0.5, page_s=1.0, attempts=1)
WHEELS = [build_wheel("foo", "1.0"), build_wheel("foo", "2.0")]
BROWSER = {"Accept": "text/html"}


def _memory(label: str, *projects: str) -> MemoryRepository:
    source = MemoryRepository(label=label)
    for wheel in WHEELS if "foo" in projects else ():
        source.add(wheel.filename, wheel.content)
    return source


async def _why(repository: Any, target: str) -> Any:
    answer = await ask(IndexApp(repository), f"/why/{target}")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def test_the_first_source_that_has_the_project_decides() -> None:
    """The sources before it do not have it; those after it were not queried, and that is why."""
    sources = [_memory("a"), _memory("b", "foo"), _memory("c", "foo")]
    found = await _why(PrioritySelectedProjectsRepository(sources), "Foo")
    assert (found["project"], found["shown"]) == ("foo", True)
    assert found["summary"] == "foo is shown with 2 files."
    tree = found["explanation"]
    assert tree["answered"] == "has it"
    assert tree["files"] == 2
    assert [(s["component"], s["answered"], s["detail"]) for s in tree["sources"]] == [
        ("memory a", "does not have it", ""),
        ("memory b", "has it", ""),
        ("memory c", "not queried", "the first source that has the project provides all of it"),
    ]


@pytest.mark.parametrize(
    ("query", "shown", "summary"),
    [
        ("?version=2", True, "foo 2 is shown with 1 file."),
        ("?version=2.0.0", True, "foo 2.0.0 is shown with 1 file."),
        ("?version=3.0", False, "foo has no file of version 3.0."),
        ("?version=%3Cb%3E", False, "foo has no file of version <b>."),
        ("?version=", True, "foo is shown with 2 files."),
        ("?nonsense", True, "foo is shown with 2 files."),
    ],
)
async def test_one_version(query: str, shown: bool, summary: str) -> None:
    """`?version=` limits the answer to the files of that version, by PEP 440."""
    found = await _why(_memory("a", "foo"), f"foo{query}")
    assert (found["shown"], found["summary"]) == (shown, summary)


async def test_no_source_has_it() -> None:
    """An unknown project is explained by every source that does not have it."""
    sources = PrioritySelectedProjectsRepository([_memory("a"), _memory("b")])
    found = await _why(sources, "nothing")
    assert not found["shown"]
    assert found["summary"] == ("nothing is not in this index: no source that may have it has it.")
    assert [s["answered"] for s in found["explanation"]["sources"]] == ["does not have it"] * 2


async def test_a_source_that_is_down_is_named(upstream: Upstream) -> None:
    """It is not absence: later sources were not queried, as this one may own the name."""
    upstream.on("/simple/foo/", Reply(status=500))
    async with PrioritySelectedProjectsRepository(
        [HttpRepository(upstream.simple, limits=QUICK), _memory("b", "foo")]
    ) as repository:
        found = await _why(repository, "foo")
    reason = f"The source {upstream.simple} is unavailable: it answers with status 500."
    assert found["summary"] == f"It is unknown whether foo is there. {reason}"
    down, later = found["explanation"]["sources"]
    assert (down["answered"], down["detail"]) == ("failed", reason)
    assert later["answered"] == "not queried"


async def test_freshness_and_origin_of_a_page(upstream: Upstream) -> None:
    """The source is named with its address, without credentials, and how old its page is."""
    publish_json(upstream, WHEELS)
    url = upstream.simple.replace("//", "//alice:secret@")
    async with MetadataInjectorRepository(HttpRepository(url)) as repository:
        found = await _why(repository, "foo")
        page = (await ask(IndexApp(repository), "/why/foo", headers=BROWSER)).text
    tree = found["explanation"]
    assert tree["component"] == f"remote index {upstream.simple}"
    assert "confirmed by its origin 0 s ago" in tree["freshness"]
    assert "(cache: " in tree["freshness"]
    assert "secret" not in f"{found}{page}"
    assert "confirmed by its origin 0 s ago" in page


async def test_a_directory_and_a_merged_index(tmp_path: Path) -> None:
    """Merged sources are all queried, and all explained."""
    (tmp_path / WHEELS[0].filename).write_bytes(WHEELS[0].content)
    async with MergedRepository([LocalRepository(tmp_path), _memory("b", "foo")]) as repository:
        tree = (await _why(repository, "foo"))["explanation"]
    assert [(s["component"], s["files"]) for s in tree["sources"]] == [
        (f"directory {tmp_path}", 1),
        ("memory b", 2),
    ]


async def test_a_name_that_a_list_leaves_out_is_sent_to_no_source(upstream: Upstream) -> None:
    """Asking why queries nobody whom a request for the page would not query."""
    async with AllowListRepository(HttpRepository(upstream.simple), allowed=["foo"]) as repository:
        tree = (await _why(repository, "bar"))["explanation"]
    assert tree["answered"] == "does not have it"
    assert tree["sources"] == []
    assert upstream.requests == []


async def test_what_rules_hide_is_explained() -> None:
    """Each hidden file is listed with rule, reason and version; the page shows it grouped."""
    repository = Hiding(_memory("a", "foo"), WHEELS[1].filename)
    found = await _why(repository, "foo")
    assert found["summary"] == "foo is shown with 1 file; rules hide 1 file of it."
    (hidden,) = found["explanation"]["hidden"]
    assert hidden == {
        "filename": WHEELS[1].filename,
        "version": "1.0",
        "rule": RULE,
        "reason": REASON,
        "until": None,
        "dry_run": False,
    }
    page = (await ask(IndexApp(repository), "/why/foo", headers=BROWSER)).text
    assert WHEELS[1].filename in page
    assert REASON in page


async def test_what_a_real_rule_hides_is_explained_as_json() -> None:
    """The rules of this package are explained as any other, and as JSON too."""
    rules = RuleRepository(_memory("a", "foo"), (DenyRule(["foo==2.0"]),))
    found = await _why(rules, "foo")
    assert [one["filename"] for one in found["explanation"]["hidden"]] == [WHEELS[1].filename]


async def test_a_hidden_project_is_explained_by_the_sentence() -> None:
    """The sentence of the rule is the summary, and no source was queried."""
    found = await _why(Hiding(_memory("a", "foo"), "foo"), "foo")
    assert found["summary"] == f"foo is {REASON}."
    assert found["explanation"]["sources"] == []


@pytest.mark.parametrize("headers", [{}, BROWSER])
async def test_a_concealed_project_is_explained_as_one_that_nobody_has(
    headers: dict[str, str],
) -> None:
    """But for the name the answers are the same, byte for byte."""
    app = IndexApp(Hiding(_memory("a", "foo"), "hidden-one", conceal=True))
    concealed, unknown = [
        await ask(app, f"/why/{name}", headers=headers) for name in ("hidden-one", "absent-one")
    ]
    assert concealed.status == unknown.status == 200
    assert concealed.body.replace(b"hidden-one", b"absent-one") == unknown.body
    assert concealed.headers == unknown.headers


async def test_a_concealed_file_is_in_no_list_and_no_count() -> None:
    """The answer is that of a project without the file, for the version of it, too."""
    concealing = IndexApp(Hiding(_memory("a", "foo"), WHEELS[1].filename, conceal=True))
    without = MemoryRepository(label="a")
    without.add(WHEELS[0].filename, WHEELS[0].content)
    plain = IndexApp(Hiding(without))
    for target in ("/why/foo", "/why/foo?version=1.0"):
        for headers in ({}, BROWSER):
            one, other = [await ask(app, target, headers=headers) for app in (concealing, plain)]
            if "version" not in target:  # `Hiding` counts its file for each version
                assert one.body == other.body
            assert WHEELS[1].filename not in one.text


def test_counts_below_a_concealing_rule_give_nothing_away() -> None:
    """The components below show no more files than clients know of."""
    inner = Explanation(component="source", answered=Answered.HAS, files=10)
    hidden = [
        HiddenFile(filename=f"{n}", version=None, rule="r", reason="x", conceal=n < 3)
        for n in range(5)
    ]
    rules = Explanation(
        component="rules", answered=Answered.HAS, files=5, hidden=tuple(hidden), sources=(inner,)
    )
    outer = Explanation(component="all", answered=Answered.HAS, files=5, sources=(rules,))
    shown = published(outer).sources[0]
    assert len(shown.hidden) == 2
    assert shown.sources[0].files == 7


async def test_markup_does_not_get_into_the_page() -> None:
    """Whatever names, reasons and versions contain, the page shows it as text, without scripts."""
    reason = "<script>alert(1)</script>"
    repository = Hiding(_memory("<b>", "foo"), "x<i>.whl", reason=reason)
    answer = await ask(IndexApp(repository), "/why/foo?version=%3Cu%3E", headers=BROWSER)
    assert not {"<b>", "<i>", "<u>", "<script>"} & set(answer.text.split("<body>")[1].split("<"))
    for text in ("<b>", "<i>", "<u>", "<script"):
        assert text not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("target", "status"),
    [("/why/-bad-", 404), ("/why/", 404), ("/why/foo?version=a%00b", 400)],
)
async def test_what_cannot_be_explained(target: str, status: int) -> None:
    """An invalid name or version is the client's mistake."""
    assert (await ask(IndexApp(_memory("a", "foo")), target)).status == status


async def test_it_is_there_in_fastapi_and_for_head() -> None:
    """The application for embedding has it, too; HEAD has no body."""
    app = create_app(_memory("a", "foo"))
    assert (await ask(app, "/why/foo")).json()["shown"]
    answer = await ask(app, "/why/foo", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")


async def test_the_answer_is_the_documented_structure() -> None:
    """A client can decode the JSON into `Explanation`."""
    repository = Hiding(_memory("a", "foo"), WHEELS[1].filename)
    found = await _why(repository, "foo")
    decoded = msgspec.convert(found["explanation"], Explanation)
    assert decoded == await repository.explain(ProjectName("foo"))


@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize("headers", [{}, BROWSER])
async def test_a_dry_run_gives_no_concealed_file_away(below: bool, headers: dict[str, str]) -> None:
    """What one rule conceals is in no report of another one, beside it or below it."""
    conceal, report = DenyRule(["foo<2"], conceal=True), DenyRule(["foo<2"], dry_run=True)
    source = _memory("a", "foo")
    repository = (
        RuleRepository(RuleRepository(source, [report], owns_names=True), [conceal])
        if below
        else RuleRepository(source, [report, conceal])
    )
    answer = await ask(IndexApp(repository), "/why/foo", headers=headers)
    assert answer.status == 200
    assert "1.0" not in answer.text


@pytest.mark.parametrize("patterns", [["foo"], ["foo<2"]])
async def test_what_one_rule_conceals_no_other_one_gives_away(patterns: list[str]) -> None:
    """A concealed file is answered 404 although an earlier rule hides it openly."""
    rules = [DenyRule(patterns), DenyRule(patterns, conceal=True)]
    app = IndexApp(RuleRepository(_memory("a", "foo"), rules))
    assert (await ask(app, f"/resources/foo/{WHEELS[0].filename}")).status == 404
    assert "1.0" not in (await ask(app, "/why/foo")).text


async def test_a_status_that_an_overlay_gives_is_explained() -> None:
    """The component that changes the status says which one clients are shown, and why."""
    rule = QuarantineOverlay(["foo"], reason="stolen")
    found = await _why(RuleRepository(_memory("a", "foo"), [rule]), "foo")
    assert found["explanation"]["detail"].startswith("its status is quarantined")
    assert found["explanation"]["sources"][0]["detail"] == ""


async def test_files_that_real_rules_hide_are_in_the_json() -> None:
    """What a rule hides by its pattern is listed by name, as JSON has no names of our own kinds."""
    found = await _why(RuleRepository(_memory("a", "foo"), [DenyRule(["foo<2"])]), "foo")
    assert [file["filename"] for file in found["explanation"]["hidden"]] == [WHEELS[0].filename]
