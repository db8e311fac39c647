from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.errors import UsageError
from fewframes.video.address import check_remote, hide_secrets, is_address, local_path, scheme_of


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://host/a.mp4", "https://host/a.mp4"),
        ("https://host:8000/a.mp4?id=7&part=2#t=3", "https://host:8000/a.mp4?id=7&part=2#t=3"),
        ("https://user:pass@host/a.mp4", "https://***@host/a.mp4"),
        ("https://user@host/a.mp4", "https://***@host/a.mp4"),
        ("https://us:er@na:me@host/a@b.mp4", "https://***@host/a@b.mp4"),
        (
            "https://b.s3.amazonaws.com/a.mp4?X-Amz-Date=20260101&X-Amz-Credential=AK%2F1&X-Amz-Signature=ab&id=7",
            "https://b.s3.amazonaws.com/a.mp4?X-Amz-Date=20260101&X-Amz-Credential=***&X-Amz-Signature=***&id=7",
        ),
        (
            "https://h/a?token=t&access_token=u&API_KEY=v&sig=w",
            "https://h/a?token=***&access_token=***&API_KEY=***&sig=***",
        ),
        ("https://h/a?p=" + 25 * "x" + "&q=" + 24 * "x", "https://h/a?p=***&q=" + 24 * "x"),
        ("https://h/a?token=a=b&id=1", "https://h/a?token=***&id=1"),
        ("https://h/a;sig=s?x=1", "https://h/a;sig=***"),
        ("abfs://clips@account.dfs.core.windows.net/a.mp4", "abfs://clips@account.dfs.core.windows.net/a.mp4"),
        ("abfs://clips:pass@account/a.mp4", "abfs://***@account/a.mp4"),
        ("tar://b.mp4::https://u:p@h/a.tar?sig=1", "tar://b.mp4::https://***@h/a.tar?sig=***"),
        ("/data/a@b.mp4", "/data/a@b.mp4"),
    ],
)
def test_secrets_are_hidden(address: str, shown: str) -> None:
    assert hide_secrets(address) == shown
    assert hide_secrets(shown) == shown


@given(st.text(), st.text(alphabet="abcXYZ019%-_", min_size=1))
def test_no_signature_is_ever_shown(start: str, signature: str) -> None:
    secret = f"S3CRET{signature}"
    assert secret not in hide_secrets(f"https://host/{start}?X-Amz-Signature={secret}&x=1").partition("?X-Amz")[2]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("http://h/a", True),
        ("a.mp4", False),
        ("part:1.mp4", False),
        ("C:\\a.mp4", False),
        ("/a//b", False),
        ("-", False),
    ],
)
def test_what_is_an_address(name: str, expected: bool) -> None:
    assert is_address(name) == expected


def test_kinds_of_address() -> None:
    assert scheme_of("HTTPS://host/a") == "https"
    assert scheme_of("s3://b/a") == "s3"
    for address in ("rtsp://camera/1", "ftp://host/a", "C://a"):
        kind = address.partition("://")[0].lower()
        with pytest.raises(UsageError, match=f"not read from {kind}:// addresses; expected one of file, tar, http, "):
            scheme_of(address)


@pytest.mark.parametrize(
    "address", ["http://h/a", "https://[::1]:80/a", "s3://bucket/a", "az://box@account/a", "memory://a", "memory:///a"]
)
def test_good_addresses(address: str) -> None:
    check_remote(address)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("https://user:secret@host/a", r"https://\*\*\*@host/a holds a user name or a password.* ~/\.netrc"),
        ("https://secret@host/a", r"https://\*\*\*@host/a holds a user name or a password"),
        ("s3://key:secret@bucket/a", r"s3://\*\*\*@bucket/a holds a user name or a password.* AWS_\*"),
        ("http:///a.mp4", "names no host or bucket"),
        ("s3://", "names no host or bucket"),
        ("http://[::1/a", "is no valid address"),
        ("http://host:port/a", "is no valid address: Port could not be cast"),
    ],
)
def test_bad_addresses(address: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        check_remote(address)
    assert "secret" not in str(caught.value)


def test_local_paths_of_file_addresses() -> None:
    assert local_path("file:///data/a%20b%23.mp4") == "/data/a b#.mp4"
    assert local_path("file://localhost/a.mp4") == "/a.mp4"
    for address in ("file://data/a.mp4", "file://"):
        with pytest.raises(UsageError, match=r"no address of a local file; expected file:///folder/clip\.mp4"):
            local_path(address)
