"""Tar shards in WebDataset's form come in; a row for each video in them, named by its place there, goes out."""

from __future__ import annotations

import glob
import itertools
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewframes.data.folders import VIDEO_SUFFIXES
from fewframes.data.importers.listing import (
    classes_if_numbers,
    label_texts,
    load_class_names,
    named_labels,
    split_of_name,
)
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest, UsageError
from fewframes.progress import track

__all__ = ["WebDatasetImport", "expand_braces", "read_webdataset"]

_BLOCK = tarfile.BLOCKSIZE
_KEY = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_LABEL_ENDINGS = ("cls", "json", "txt")
_MOST_LABEL_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class WebDatasetImport:
    """Read WebDataset shards: tar files with key.mp4 and, for the label, key.cls, key.json or key.txt.

    Nothing is unpacked: rows name a video's place in its shard.

    Example: fewframes data import webdataset 'train-{000..009}.tar' --classes kinetics400 --output list.csv
    """

    shards: tuple[str, ...]
    """The tar files, or patterns such as 'train-{000..009}.tar' and 'shards/*.tar'; a file's name tells its split."""
    classes: str = ""
    """Class names: an official list such as kinetics400, or a file with one name a line. By default those found."""
    label_key: str = "label"
    """Which field of a key.json holds the label."""


@dataclass
class _Sample:
    """What the members of one key tell."""

    shard: Path
    videos: list[str] = field(default_factory=list)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    path: str
    key: str
    shard: Path
    labels: tuple[str, ...]


def read_webdataset(options: WebDatasetImport) -> Manifest:
    """Read the names and labels in tar shards. A row's path is `tar://MEMBER::SHARD`, the shard's path in full.

    The label is that of key.cls, or else of the field of key.json, or else key.txt: a class name or number (in JSON
    also a list of them). Numbers stand for `classes`; without those they stay numbers, as text. Videos without a label
    have none in their row and are counted in a note, and so are samples without a video.

    Raises:
        InvalidManifest: no such shard, one that is no tar file, is compressed or cut, a member twice, two videos of
            one key, a label that cannot be read or is none of the classes.
        UnknownName: there are no such `classes`.
        UsageError: no shard was given, or an address instead of a file.
    """
    shards = _shards(options.shards)
    found: list[_Found] = []
    origins: Counter[str] = Counter()
    passed: list[str] = []
    for shard in track(shards, "shards", total=len(shards), show=True):
        samples, strange = _samples(shard, options.label_key)
        passed += [f"{shard}: {name}" for name in strange]
        for key, sample in samples.items():
            if not sample.videos:
                passed.append(f"{shard}: {key}.*")
                continue
            origin = next((ending for ending in _LABEL_ENDINGS if ending in sample.labels), "none")
            origins[origin] += 1
            found.append(_Found(_address(shard, sample.videos[0]), key, shard, sample.labels.get(origin, ())))
    if not found:
        raise InvalidManifest(f"no videos in {len(shards)} shards, the first is {shards[0]}; expected such as key.mp4")
    if options.classes:
        classes: tuple[str, ...] | None = load_class_names(options.classes)
    else:
        classes = classes_if_numbers(str(shards[0]), (label for each in found for label in each.labels))
    index = {name: number for number, name in enumerate(classes or ())}
    videos = [
        Video(
            each.path,
            named_labels(each.path, each.labels, index) if classes else each.labels,
            split_of_name(each.shard.stem),
        )
        for each in found
    ]
    return Manifest(", ".join(options.shards), tuple(videos), tuple(_notes(found, origins, passed)), classes)


def expand_braces(pattern: str) -> list[str]:
    """The names that a pattern with braces stands for: "a{08..10}" is a08, a09, a10; "a{b,c}" is ab, ac."""
    pieces = _BRACES.split(pattern)  # text, inside, text, inside, ..., text
    choices = [[piece] if number % 2 == 0 else _inside_braces(piece) for number, piece in enumerate(pieces)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _inside_braces(text: str) -> list[str]:
    found = _RANGE.fullmatch(text)
    if found is None:
        return text.split(",") if "," in text else [f"{{{text}}}"]
    first, last = found.groups()
    step = 1 if int(last) >= int(first) else -1
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    return [str(number).zfill(width) for number in range(int(first), int(last) + step, step)]


def _shards(patterns: Sequence[str]) -> list[Path]:
    """The shards in the order given, each once; those of a pattern with * sorted. Raises if one is absent."""
    shards: dict[Path, None] = {}
    for pattern in patterns:
        if "://" in pattern:
            raise UsageError(f"{pattern} is an address; shards are read from disk: download them first")
        names = [pattern] if Path(pattern).is_file() else expand_braces(pattern)
        for name in names:
            matches = sorted(glob.glob(name)) if glob.has_magic(name) and not Path(name).is_file() else [name]
            if not matches:
                raise InvalidManifest(f"no files fit {name}; expected tar files")
            shards |= dict.fromkeys(Path(match).absolute() for match in matches)
    absent = [shard for shard in shards if not shard.is_file()]
    if absent:
        raise InvalidManifest(f"{len(absent)} of {len(shards)} shards do not exist, the first is {absent[0]}")
    if not shards:
        raise UsageError("no shard was given; name at least one tar file")
    return list(shards)


def _samples(shard: Path, label_key: str) -> tuple[dict[str, _Sample], list[str]]:
    """The samples of a shard by key, and the members that belong to none."""
    samples: dict[str, _Sample] = {}
    strange: list[str] = []
    seen: set[str] = set()
    try:
        with tarfile.open(shard, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            for member in tar:
                if member.isdir():
                    continue
                fits = _KEY.fullmatch(member.name)
                if fits is None or not member.isreg() or member.issparse():
                    strange.append(member.name)
                    continue
                if member.name in seen:
                    raise InvalidManifest(f"{shard}: the member {member.name} occurs twice; write the shard anew")
                seen.add(member.name)
                _add(samples.setdefault(fits[1], _Sample(shard)), tar, member, fits[2].lower(), label_key)
            _check_whole(shard, tar.offset)
    except tarfile.TarError as error:
        raise InvalidManifest(f"{shard} {_why_no_tar(shard, error)}") from error
    except OSError as error:
        raise InvalidManifest(f"cannot read {shard}: {error.strerror or error}") from error
    return samples, strange


def _add(sample: _Sample, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str, label_key: str) -> None:
    """Note what one member tells of its sample."""
    place = f"{sample.shard}: {member.name}"
    if f".{ending.rpartition('.')[2]}" in VIDEO_SUFFIXES:
        sample.videos.append(member.name)
        if len(sample.videos) > 1:
            raise InvalidManifest(
                f"{place}: its key has another video, {sample.videos[0]}; a key ends at the first dot of a file's name"
            )
    elif ending in _LABEL_ENDINGS:
        if member.size > _MOST_LABEL_BYTES:
            raise InvalidManifest(f"{place}: {member.size:,} bytes; expected a label")
        file = tar.extractfile(member)
        assert file is not None, "a regular file has content"
        try:
            text = file.read().decode("utf-8-sig").strip()
            value = json.loads(text) if ending == "json" else text
        except UnicodeDecodeError as error:
            raise InvalidManifest(f"{place}: not in UTF-8 ({error}); expected a class name or number") from error
        except (ValueError, RecursionError) as error:
            raise InvalidManifest(f"{place}: not JSON ({error})") from error
        if ending == "json":
            value = value.get(label_key) if isinstance(value, dict) else None
        labels = label_texts(place, label_key if ending == "json" else "the label", value)
        if labels:
            sample.labels[ending] = labels


def _check_whole(shard: Path, offset: int) -> None:
    """Raise unless an empty block, which closes a tar file, stands where reading its members ended.

    `tarfile` itself takes a file that is cut between two members, or goes on with other bytes, for a whole one.
    """
    with shard.open("rb") as file:
        file.seek(offset)
        end = file.read(_BLOCK)
    if end != bytes(_BLOCK):
        raise tarfile.ReadError("unexpected end of data")


def _why_no_tar(shard: Path, error: tarfile.TarError) -> str:
    with shard.open("rb") as file:
        first = file.read(4)
    if first.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zX", b"\x28\xb5\x2f\xfd")):
        return "is compressed, so that no video in it can be found without unpacking all; write a plain tar file"
    if not first:
        return "is empty; download it again"
    return f"is no whole tar file ({error}); it may be cut, download it again"


def _address(shard: Path, member: str) -> str:
    address = f"tar://{member}::{shard}"
    if "::" in member or "::" in str(shard):
        raise InvalidManifest(f"{shard}: {member}: a name with '::' cannot stand in an address such as {address}")
    return address


def _notes(found: Sequence[_Found], origins: Mapping[str, int], passed: Sequence[str]) -> Iterable[str]:
    given = {ending: count for ending, count in origins.items() if ending != "none"}
    if given:
        yield "labels are from " + ", ".join(f"key.{ending} ({count:,})" for ending, count in given.items())
    if origins.get("none"):
        first = next(each.path for each in found if not each.labels)
        yield f"{origins['none']:,} videos have no label, the first is {first}"
    if passed:
        yield f"{len(passed):,} members or samples are no videos and were passed over, the first is {passed[0]}"
    keys = Counter(each.key for each in found)
    again = [key for key, count in keys.items() if count > 1]
    if again:
        yield f"{len(again):,} keys are in several shards, the first is {again[0]}"
