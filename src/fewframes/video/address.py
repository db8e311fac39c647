"""An address such as https://host/clip.mp4 comes in; what kind it is, and how a message may show it, goes out."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from fewframes.errors import UsageError

__all__ = ["HTTP_SCHEMES", "STORE_SCHEMES", "check_remote", "hide_secrets", "is_address", "local_path", "scheme_of"]

HTTP_SCHEMES = ("http", "https")
STORE_SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "abfss", "memory")
_SCHEMES = ("file", "tar", *HTTP_SCHEMES, *STORE_SCHEMES)
_AZURE_SCHEMES = ("az", "abfs", "abfss")  # these write container@account

_HIDDEN = "***"
_BEFORE_HOST = re.compile(r"(?<=://)[^/?#]*@")
_SETTING = re.compile(r"([?&;][^=&;#]*)=([^&;#]*)")
_SECRET_NAME = re.compile(r"sig|token|key|secret|passw|pwd|auth|cred|session|policy|code|ticket", re.IGNORECASE)
_LONGEST_SHOWN = 24  # a longer value in an address is hidden whatever its name; signatures have 32 characters and more


def is_address(name: str) -> bool:
    """Whether a name is an address, not a local path; a colon alone does not make it one."""
    return "://" in name


def scheme_of(address: str) -> str:
    """What stands before "://", in lower case. Raises UsageError if it is nothing that videos are read from."""
    scheme = address.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        # All are named: the one that is spelt most alike ("http" for "rtsp") would mislead.
        raise UsageError(f"videos are not read from {scheme}:// addresses; expected one of {', '.join(_SCHEMES)}")
    return scheme


def hide_secrets(address: str) -> str:
    """The address as messages and reports may show it: without user and password, signatures and tokens."""
    shown = _BEFORE_HOST.sub(lambda found: found[0] if _is_container(address, found[0]) else f"{_HIDDEN}@", address)
    return _SETTING.sub(
        lambda found: (
            f"{found[1]}={_HIDDEN}" if _SECRET_NAME.search(found[1]) or len(found[2]) > _LONGEST_SHOWN else found[0]
        ),
        shown,
    )


def check_remote(address: str) -> None:
    """Raise UsageError if an address names no host or bucket, or carries a user name or a password."""
    shown = hide_secrets(address)
    try:
        parts = urlsplit(address)
        host, has_user = (parts.hostname, "@" in parts.netloc)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"{shown} is no valid address: {error}") from error
    if has_user and not _is_container(address, parts.netloc):
        raise UsageError(
            f"{shown} holds a user name or a password, which would end up in lists and reports; "
            "leave it out and put it into ~/.netrc, or for object stores into AWS_* and the like"
        )
    if not host and parts.scheme.lower() != "memory":
        raise UsageError(f"{shown} names no host or bucket; expected something like https://host/clip.mp4")


def local_path(address: str) -> str:
    """The path of a file:// address, with its %XX decoded. Raises UsageError if it names another machine."""
    path = address.partition("://")[2].removeprefix("localhost")
    if not path.startswith("/"):
        raise UsageError(f"{address} is no address of a local file; expected file:///folder/clip.mp4, or just the path")
    return unquote(path)


def _is_container(address: str, before_host: str) -> bool:
    """Whether what stands before an "@" is the name of an Azure container, not of a user."""
    return address.partition("://")[0].lower() in _AZURE_SCHEMES and ":" not in before_host
