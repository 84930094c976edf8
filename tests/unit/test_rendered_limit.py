"""The headers of a page that the clock changes."""

import pytest

from simple_repository_server.freshness import Freshness, LimitedFreshness, WeakestFreshness
from simple_repository_server.model import ProjectPage
from simple_repository_server.names import ProjectName
from simple_repository_server.web.rendered import Rendered

NOW = 1_700_000_000.0


def _page(freshness: Freshness) -> ProjectPage:
    return ProjectPage(name=ProjectName("demo"), files=(), freshness=freshness)


def _rendered() -> Rendered:
    return Rendered(etag='"1"', body=b"body", headers=[(b"content-type", b"text/html")])


def _max_age(rendered: Rendered, page: ProjectPage, now: float, etag: str = "") -> bytes:
    return dict(rendered.reply(page, now, etag).head.headers)[b"cache-control"]


@pytest.mark.parametrize("etag", ["", '"1"'])
def test_max_age_counts_down_to_the_moment_of_the_change(etag: str) -> None:
    """Each second it is a second less, whether or not the page was answered before."""
    page = _page(LimitedFreshness(Freshness(validated_at=NOW - 30, lifetime_s=600), NOW + 2.5))
    rendered = _rendered()
    for after, expected in ((0, 2), (0.4, 2), (0.6, 1), (1.4, 1), (1.6, 0), (2.4, 0)):
        stated = b"public, max-age=%d" % expected if expected else b"max-age=0, must-revalidate"
        assert _max_age(rendered, page, NOW + after, etag) == stated
        assert _max_age(_rendered(), page, NOW + after, etag) == stated


def test_a_limited_page_stays_on_the_fast_way() -> None:
    """Within a second the very answer is sent again, as for a page without a limit."""
    page = _page(LimitedFreshness(Freshness(validated_at=NOW, lifetime_s=600), NOW + 90.5))
    rendered = _rendered()
    first = rendered.reply(page, NOW, "")
    assert rendered.reply(page, NOW + 0.4, "") is first
    assert rendered.reply(page, NOW + 0.6, "") is not first


def test_another_limit_is_stated_at_once() -> None:
    """Also where the limit of a source's rule changed, within the same second."""
    inner = LimitedFreshness(Freshness(validated_at=NOW, lifetime_s=600), NOW + 90)
    page = _page(LimitedFreshness(inner, NOW + 300))
    rendered = _rendered()
    assert _max_age(rendered, page, NOW) == b"public, max-age=90"
    inner.until = NOW + 20
    assert _max_age(rendered, page, NOW + 0.001) == b"public, max-age=19"


def test_a_limited_combination_is_stated_as_it_is() -> None:
    """What several sources contribute may change in any of them."""
    part = Freshness(validated_at=NOW, lifetime_s=600)
    page = _page(LimitedFreshness(WeakestFreshness([part]), NOW + 900))
    rendered = _rendered()
    assert _max_age(rendered, page, NOW) == b"public, max-age=600"
    part.lifetime_s = 10
    assert _max_age(rendered, page, NOW) == b"public, max-age=10"
