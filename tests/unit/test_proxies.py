"""Which proxy a request goes through: `HTTP_PROXY` and its kind, as curl and pip read them."""

import pytest

from simple_repository_server.upstream.proxies import proxies_from

PROXY = "http://proxy.example:3128"


def _of(environment: dict[str, str], url: str, option: str | None = None) -> str | None:
    proxy = proxies_from(environment, option=option).for_url(url)
    return proxy.url if proxy else None


@pytest.mark.parametrize(
    ("environment", "http", "https"),
    [
        ({}, None, None),
        ({"HTTP_PROXY": PROXY}, PROXY, None),
        ({"HTTPS_PROXY": PROXY}, None, PROXY),
        ({"ALL_PROXY": PROXY}, PROXY, PROXY),
        ({"ALL_PROXY": PROXY, "https_proxy": "http://other:1"}, PROXY, "http://other:1"),
        ({"HTTP_PROXY": "http://other:1", "http_proxy": PROXY}, PROXY, None),
        ({"HTTP_PROXY": PROXY, "http_proxy": ""}, None, None),
        ({"HTTP_PROXY": " "}, None, None),
        ({"all_proxy": "proxy.example:3128"}, PROXY, PROXY),
        ({"all_proxy": "HTTPS://PROXY.example/"}, *2 * ["https://proxy.example:443"]),
        ({"all_proxy": "http://[::1]:3128"}, "http://[::1]:3128", "http://[::1]:3128"),
        # One that is not used is no matter.
        ({"ALL_PROXY": "socks5://x:1", "HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY}, PROXY, PROXY),
    ],
)
def test_proxies_of_the_environment(
    environment: dict[str, str], http: str | None, https: str | None
) -> None:
    """Lower case precedes upper case, and a scheme's own name precedes `ALL_PROXY`."""
    assert _of(environment, "http://index.example/simple/") == http
    assert _of(environment, "https://index.example/simple/") == https


@pytest.mark.parametrize("option", ["none", ""])
def test_option_replaces_the_environment(option: str) -> None:
    """The option replaces proxies of the environment, even invalid ones; `none` means no proxy."""
    environment = {"HTTP_PROXY": "http://other:1", "ALL_PROXY": "socks5://other:1"}
    for url in ("http://index.example/", "https://index.example/"):
        assert _of(environment, url, PROXY) == PROXY
        assert _of(environment, url, option) is None
    assert _of({"no_proxy": "index.example"}, "http://index.example/", PROXY) is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "http://index.example/", True),
        ("index.example", "http://index.example/", True),
        ("index.example", "http://INDEX.example.:80/", True),
        ("INDEX.EXAMPLE", "http://index.example/", True),
        ("example", "http://index.example/", True),
        (".example", "http://index.example/", True),
        ("*.example", "http://index.example/", True),
        (".index.example", "http://index.example/", True),
        ("dex.example", "http://index.example/", False),
        ("index.example.org", "http://index.example/", False),
        ("index.example:80", "http://index.example/", True),
        ("index.example:443", "https://index.example/", True),
        ("index.example:8080", "http://index.example/", False),
        ("a.example, ,b.example index.example", "http://index.example/", True),
        ("127.0.0.1", "http://127.0.0.1:8000/", True),
        ("127.0.0.1", "http://127.0.0.2:8000/", False),
        ("127.0.0.0/8,10.0.0.0/8", "http://10.20.30.40/", True),
        ("10.0.0.0/8:8080", "http://10.20.30.40/", False),
        ("10.0.0.1/8", "http://10.20.30.40/", True),
        ("10.0.0.0/8", "http://[::ffff:10.0.0.1]/", True),
        ("10.0.0.0/99", "http://10.0.0.1/", False),
        ("::1", "http://[::1]:8000/", True),
        ("[::1]", "http://[::1]:8000/", True),
        ("[::1]:8000", "http://[::1]:8000/", True),
        ("[::1]:8001", "http://[::1]:8000/", False),
        ("fd00::/8", "http://[fd00::7]/", True),
        ("localhost", "http://localhost:8000/", True),
        ("localhost", "http://127.0.0.1:8000/", False),
        ("", "http://localhost:8000/", False),
        (".", "http://index.example/", False),
        ("[", "http://index.example/", False),
        ("0.0.1", "http://10.0.0.1/", False),
        ("index.example:" + "9" * 5000, "http://index.example/", False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_no_proxy_matches_names_networks_and_ports(
    name: str, no_proxy: str, url: str, direct: bool
) -> None:
    """`NO_PROXY` lists names with their subdomains, addresses, networks, ports, and `*`."""
    assert _of({"ALL_PROXY": PROXY, name: no_proxy}, url) == (None if direct else PROXY)


def test_proxy_credentials_are_decoded_and_not_shown() -> None:
    """They become a header for the proxy only; no text form contains them."""
    proxies = proxies_from({"HTTP_PROXY": "http://us%40er:p%2Fa%3Ass@proxy.example:3128"})
    assert proxies.http is not None
    assert (proxies.http.user, proxies.http.password) == ("us@er", "p/a:ss")
    assert set(proxies.http.headers) == {"Proxy-Authorization"}
    assert str(proxies.http) == PROXY
    assert "us@er" not in repr(proxies)
    assert "p/a" not in repr(proxies)


@pytest.mark.parametrize(
    "text",
    [
        "socks5://user:secret@proxy.example:1080",
        "SOCKS4a://proxy.example",
        "ftp://user:secret@proxy.example",
        "http://user:sec/ret@proxy.example",
        "http://user:secret@proxy.example/path",
        "http://user:secret@proxy.example:99999",
        "http://us%3Aer:secret@proxy.example",
        "http://user:secret@pro xy.example",
        "http://",
        "user:secret@",
    ],
)
@pytest.mark.parametrize("option", [True, False])
def test_invalid_proxy_error_names_the_setting_not_the_address(text: str, option: bool) -> None:
    """The error names the variable or the option and the remedy, and no part of the address."""
    environment = {} if option else {"https_proxy": text}
    name = "--proxy" if option else "https_proxy"
    with pytest.raises(ValueError, match=name) as caught:
        proxies_from(environment, option=text if option else None)
    assert ("SOCKS" in str(caught.value)) == text.lower().startswith("socks")
    assert "secret" not in str(caught.value)
    assert "ret@" not in str(caught.value)
    assert "proxy.example" not in str(caught.value)
