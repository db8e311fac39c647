"""The address of a file in an object store comes in; its length, version and byte ranges go out, by fsspec."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import fsspec
from fsspec.spec import AbstractFileSystem

from fewframes.errors import UnreadableVideo
from fewframes.video.address import hide_secrets, scheme_of
from fewframes.video.storage import Range, Traffic

__all__ = ["StoreFile"]

_SIDE_BY_SIDE = 8  # requests at a time for one reader
# By what stores tell versions of a file apart; the first that one knows.
_VERSION_KEYS = ("ETag", "etag", "generation", "content_md5", "LastModified", "last_modified", "mtime", "created")
_GOOGLE = "GOOGLE_APPLICATION_CREDENTIALS or the login of gcloud"
_AZURE = "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
_AMAZON = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws or the role of the machine; for a public bucket set "
    "FSSPEC_S3_ANON=true"
)
_CREDENTIALS = {
    "s3": _AMAZON,
    "gs": _GOOGLE,
    "gcs": _GOOGLE,
    "az": _AZURE,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "memory": "nowhere",
}
_LONGEST_DETAIL = 300
_NO_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "DefaultCredentialsError",
)

# One for each process, kind and account: making one takes long. A forked child must neither use nor close those of its
# parent, so they stay here, under the parent's number.
_stores: dict[tuple[object, ...], AbstractFileSystem] = {}


class StoreFile:
    """A file in an object store that fsspec reads; see `fewframes.video.remote.RemoteFile`.

    Args:
        address: such as s3://bucket/clip.mp4.
        first_bytes: how much of its beginning is fetched at once.

    Attributes:
        size: length in bytes.
        version: what the store tells versions of the file apart by.
        head: the first bytes.
        opening: what that cost; what fsspec tries again is not counted.

    Raises:
        UnreadableVideo: it cannot be had.
        ImportError: the package for this kind of store is not installed.
    """

    def __init__(self, address: str, *, first_bytes: int) -> None:
        self._address, self._name = address, hide_secrets(address)
        self.opening = Traffic()
        self.size, self.version = self._describe(self.opening)
        self.head = b"".join(self._cat([(0, min(first_bytes, self.size))] if self.size else [], self.opening))

    def fetch(self, ranges: Sequence[Range], traffic: Traffic) -> list[bytes]:
        """See `fewframes.video.remote.RemoteFile`."""
        try:
            contents = self._cat(ranges, traffic)
        except UnreadableVideo:
            self._check_same(traffic)
            raise
        # Asked after reading: what was read before the file changed belongs to the version that was opened.
        self._check_same(traffic)
        return contents

    def _cat(self, ranges: Sequence[Range], traffic: Traffic) -> list[bytes]:
        store, path = self._store()
        starts, stops = [start for start, _ in ranges], [stop for _, stop in ranges]
        at_a_time = {"batch_size": _SIDE_BY_SIDE} if store.async_impl else {}
        traffic.requests += len(ranges)
        try:
            found = store.cat_ranges([path] * len(ranges), starts, stops, on_error="raise", **at_a_time)
        except Exception as error:
            raise self._typed(error) from error
        contents = [bytes(content) for content in found]
        traffic.bytes_read += sum(map(len, contents))
        for (start, stop), content in zip(ranges, contents, strict=True):
            if len(content) != stop - start:
                reason = (
                    f"the store sends {len(content)} bytes instead of the {stop - start} asked for; try again later"
                )
                raise UnreadableVideo(self._name, reason)
        return contents

    def _describe(self, traffic: Traffic) -> tuple[int, str]:
        """Length and version as they are now."""
        store, path = self._store()
        traffic.requests += 1
        try:
            found: Mapping[str, object] = store.info(path)
        except Exception as error:
            raise self._typed(error) from error
        if found.get("type") == "directory":
            raise UnreadableVideo(self._name, "it is a folder; name a video file")
        size = found.get("size")
        if not isinstance(size, int):
            raise UnreadableVideo(
                self._name, "the store does not say how long the file is; download it and name the copy"
            )
        return size, next((str(found[key]) for key in _VERSION_KEYS if found.get(key)), "")

    def _check_same(self, traffic: Traffic) -> None:
        size, version = self._describe(traffic)
        if (size, version) != (self.size, self.version):
            was, now = (f"{self.size} bytes", f"{size} bytes") if size != self.size else (self.version, version)
            reason = f"the file changed while it was read (it had {was}, now {now}); read it again"
            raise UnreadableVideo(self._name, reason)

    def _store(self) -> tuple[AbstractFileSystem, str]:
        """This process's way to the store, and what the store calls the file."""
        kind = fsspec.get_filesystem_class(scheme_of(self._address))
        options = kind._get_kwargs_from_urls(self._address)
        key = (os.getpid(), kind, *sorted(options.items()))
        if key not in _stores:
            try:
                # fsspec would keep it for itself and close it in forked children, which share its connections.
                _stores[key] = kind(**options, skip_instance_cache=True, use_listings_cache=False)
            except Exception as error:
                raise self._typed(error) from error
        return _stores[key], kind._strip_protocol(self._address)

    def _typed(self, error: Exception) -> UnreadableVideo:
        """One line for whatever a store's package raises."""
        kind = type(error).__name__
        if isinstance(error, FileNotFoundError):
            return UnreadableVideo(self._name, "the store has no such file; check the address")
        if isinstance(error, PermissionError) or kind in _NO_CREDENTIALS:
            where = _CREDENTIALS[scheme_of(self._address)]
            return UnreadableVideo(self._name, f"the store refuses access; credentials are taken from {where}")
        detail = hide_secrets(" ".join(str(error).split()))[:_LONGEST_DETAIL]
        return UnreadableVideo(
            self._name, f"the store cannot be read ({kind}: {detail}); check the address, or try again"
        )
