"""Credentials: found for their origin, sent nowhere else, shown nowhere."""

from pathlib import Path

import pytest

from simple_repository_server.upstream.credentials import netrc_credentials, split_credentials


def test_credentials_are_split_from_an_address() -> None:
    """`user:password@` is removed, decoded, and sent to that origin only."""
    url, credentials = split_credentials("https://me:p%40ss@index.example/simple/")
    assert url == "https://index.example/simple/"
    assert credentials is not None
    assert (credentials.user, credentials.password) == ("me", "p@ss")
    assert "Authorization" in credentials.header_for("https://index.example:443/other")
    for other in (
        "http://index.example/",
        "https://index.example:8443/",
        "https://cdn.index.example/",
        "https://evil.example/https://index.example/",
    ):
        assert credentials.header_for(other) == {}


def test_credentials_have_no_secrets_in_their_repr() -> None:
    """Neither user nor password is in the text form."""
    _, credentials = split_credentials("https://alice:secret@index.example/")
    assert "secret" not in repr(credentials)
    assert "alice" not in repr(credentials)


@pytest.mark.parametrize("url", ["ftp://u:p@host/", "https://", "https://host:port/", "nonsense"])
def test_other_addresses_are_rejected(url: str) -> None:
    """An address that is not http(s) raises `ValueError`."""
    with pytest.raises(ValueError):
        split_credentials(url)


def _netrc(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "netrc"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_netrc_is_for_the_named_host_only(tmp_path: Path) -> None:
    """The entry of the host counts; `default` does not, as it would send passwords anywhere."""
    path = _netrc(
        tmp_path,
        "machine index.example login me password secret\ndefault login any password thing\n",
    )
    found = netrc_credentials(path, "https://index.example/simple/")
    assert found is not None
    assert (found.user, found.password) == ("me", "secret")
    assert netrc_credentials(path, "https://other.example/") is None
    assert netrc_credentials(path, "https://default/") is None


def test_invalid_netrc_error_names_file_and_line(tmp_path: Path) -> None:
    """The error names the file and the line, and quotes nothing of it."""
    path = _netrc(tmp_path, "machine index.example login me secretword\n")
    with pytest.raises(ValueError, match="line") as caught:
        netrc_credentials(path, "https://index.example/")
    assert str(path) in str(caught.value)
    assert "secretword" not in str(caught.value)
