"""A list of labelled videos comes in; lists that share no group and no file go out."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fewframes.data.listing import file_keys
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import UsageError

__all__ = ["GROUPINGS", "fold_list", "hold_out", "split_list"]

GROUPINGS = ("group", "file", "folder", "regex:PATTERN")
_TRAIN, _VAL, _TEST = "train", "val", "test"
_PASSES = 20
_LEAST_GAIN = 1e-9


def hold_out(manifest: Manifest, fraction: float, seed: int) -> tuple[Manifest, Manifest]:
    """Part a list in two: the same share of every class, groups kept whole, the same for the same seed.

    A group stays together across classes too; so do the lines of one file. No class loses all its videos.

    Returns:
        What remains, and what was held out, each in the list's order.
    """
    groups: dict[str, list[Video]] = defaultdict(list)
    for video in manifest.videos:
        groups[f"group {video.group}" if video.group is not None else f"file {video.path}"].append(video)
    remaining = Counter(label for video in manifest.videos for label in video.labels)
    wanted = {label: round(fraction * count) for label, count in remaining.items()}
    names = sorted(groups)
    random.Random(seed).shuffle(names)
    held: set[str] = set()
    for name in names:
        taken = Counter(label for video in groups[name] for label in video.labels)
        wants = any(wanted[label] > 0 for label in taken)
        if wants and all(taken[label] < remaining[label] for label in taken):
            held.add(name)
            remaining.subtract(taken)
            wanted = {label: count - taken[label] for label, count in wanted.items()}
    held_videos = {id(video) for name in held for video in groups[name]}
    return (
        replace(manifest, videos=tuple(video for video in manifest.videos if id(video) not in held_videos)),
        replace(manifest, videos=tuple(video for video in manifest.videos if id(video) in held_videos)),
    )


def split_list(manifest: Manifest, shares: Mapping[str, float], *, group_by: str = "group", seed: int = 0) -> Manifest:
    """Give every row a split, so that each class has the wanted shares as nearly as its groups allow.

    Groups are kept whole, and so are the rows of one file. No class loses all its training videos; where that and the
    shares contradict each other, training wins. The same list, whatever its order, and seed give the same splits.

    Args:
        manifest: the list; splits that it has are replaced.
        shares: share of each split other than "train", above 0 and together below 1.
        group_by: "group" (the list's own; a row of no group goes by its file), "file", "folder" (that the file lies in)
            or "regex:PATTERN" (what the pattern's brackets hold, or all that it matches, in the path).
        seed: of the draw among equally good splits.

    Returns:
        The same rows in the same order, each with a split.

    Raises:
        UsageError: the shares or `group_by` make no sense, a path does not match, or a split would be empty.
    """
    if not shares or min(shares.values()) <= 0 or sum(shares.values()) >= 1 or _TRAIN in shares:
        raise UsageError(f"shares are {dict(shares)}; expected numbers above 0 that leave something for training")
    names = [_TRAIN, *shares]
    groups = _Groups(manifest, group_by)
    homes = _Homes(groups.counts, [1 - sum(shares.values()), *shares.values()], f"{seed}")
    for label in sorted(groups.of_label):
        members = groups.of_label[label]
        if all(homes.of[member] != 0 for member in members):
            homes.move(min(members, key=lambda member: (homes.cost_of_move(member, 0), member)), 0)
    splits = [names[home] for home in groups.spread(homes.of)]
    for name in names:
        if name not in splits:
            raise UsageError(
                f"no video of {manifest.source} can go to {name}: it has {len(groups.counts)} groups, and each class "
                "needs one for training; ask for a larger share, or for smaller groups with --group-by file"
            )
    return _with_splits(manifest, splits)


def fold_list(
    manifest: Manifest, folds: int, *, val: float = 0.0, group_by: str = "group", seed: int = 0
) -> tuple[Manifest, ...]:
    """Lists for cross-validation: each row is tested on in one of them, and trained on in the others.

    Args:
        manifest: the list; splits that it has are replaced.
        folds: how many lists, >= 2.
        val: share of all rows to hold out for validation in each list, besides its test rows; 0 for none.
        group_by: as for `split_list`.
        seed: as for `split_list`.

    Returns:
        One list a fold, each with all rows in the same order, split into train, test and, if asked for, val.

    Raises:
        UsageError: as for `split_list`, or a class has fewer than two groups, so that one fold could not train it; or
            there are fewer groups than folds.
    """
    if folds < 2 or not 0 <= val < 1 - 1 / folds:
        raise UsageError(f"folds is {folds} and val is {val}; expected at least 2, and a share of what is not tested")
    groups = _Groups(manifest, group_by)
    homes = _Homes(groups.counts, [1 / folds] * folds, f"{seed}")
    for label in sorted(groups.of_label):
        members = groups.of_label[label]
        if len(members) < 2:
            raise UsageError(
                f"all videos of {label!r} are in one group, so the fold that tests it has none of them to train on; "
                "find smaller groups with --group-by, or make one split with --val and --test"
            )
        if len({homes.of[member] for member in members}) == 1:
            others = [(homes.cost_of_move(each, to), each, to) for each in members for to in range(folds)]
            _, member, to = min(each for each in others if each[2] != homes.of[each[1]])
            homes.move(member, to)
    if len(set(homes.of)) < folds:
        raise UsageError(
            f"the {len(groups.counts)} groups are too few for {folds} folds, each with something to test; "
            "ask for fewer folds, or find smaller groups with --group-by"
        )
    for label, members in groups.of_label.items():
        if len({homes.of[member] for member in members}) == 1:
            raise UsageError(f"no way was found to train {label!r} in each of {folds} folds; try another --seed")
    tested = groups.spread(homes.of)
    return tuple(_fold(manifest, tested, fold, (val / (1 - 1 / folds), group_by, seed)) for fold in range(folds))


def _fold(manifest: Manifest, tested: Sequence[int], fold: int, validation: tuple[float, str, int]) -> Manifest:
    """One fold's list; `validation` is the share of the rows that are not tested, how to group them, and a seed."""
    share, group_by, seed = validation
    splits = [_TEST if home == fold else _TRAIN for home in tested]
    if share > 0:
        rest = tuple(video for video, split in zip(manifest.videos, splits, strict=True) if split == _TRAIN)
        remaining = split_list(replace(manifest, videos=rest), {_VAL: share}, group_by=group_by, seed=seed)
        drawn = iter(remaining.videos)
        splits = [split if split == _TEST else str(next(drawn).split) for split in splits]
    return _with_splits(manifest, splits)


def _with_splits(manifest: Manifest, splits: Sequence[str]) -> Manifest:
    videos = zip(manifest.videos, splits, strict=True)
    return replace(manifest, videos=tuple(replace(video, split=split) for video, split in videos))


class _Groups:
    """What must stay together, by number.

    Attributes:
        counts: rows of each label in each group; those without a label count as "".
        of_label: label -> the groups that have it.
    """

    def __init__(self, manifest: Manifest, group_by: str) -> None:
        name_of = _grouping(group_by)
        parents: dict[str, str] = {}

        def root(name: str) -> str:
            parents.setdefault(name, name)
            while parents[name] != name:
                parents[name] = parents[parents[name]]
                name = parents[name]
            return name

        files = [f"file {key}" for key in file_keys(video.path for video in manifest.videos)]
        for video, file in zip(manifest.videos, files, strict=True):
            group = name_of(video)
            if group is not None:
                # A file that is listed in two groups ties them together.
                first, second = sorted((root(file), root(f"group {group}")))
                parents[second] = first
        roots = [root(file) for file in files]
        numbers = {name: number for number, name in enumerate(sorted(set(roots)))}
        self._of_row = [numbers[name] for name in roots]
        self.counts: list[Counter[str]] = [Counter() for _ in numbers]
        self.of_label: dict[str, list[int]] = defaultdict(list)
        for video, number in zip(manifest.videos, self._of_row, strict=True):
            self.counts[number].update(video.labels or ("",))
        for number, count in enumerate(self.counts):
            for label in count:
                self.of_label[label].append(number)

    def spread(self, homes: Sequence[int]) -> list[int]:
        """Each row's home, from each group's."""
        return [homes[number] for number in self._of_row]


class _Homes:
    """Groups dealt out to places, so that each label's rows come near to the wanted shares.

    The cost is the squared distance of each place's rows from its share, over each label and over all rows, each
    divided by how many there are: as in a chi-squared test, a row of a rare class counts for more. The largest groups
    are dealt out first, each to where it costs the least; then single groups move for as long as that helps.

    Attributes:
        of: the place of each group.
    """

    def __init__(self, counts: Sequence[Counter[str]], shares: Sequence[float], seed: str) -> None:
        # None stands for rows of any label.
        self._sizes: list[dict[str | None, int]] = [{None: count.total()} for count in counts]
        for size, count in zip(self._sizes, counts, strict=True):
            size.update(count)
        totals: Counter[str | None] = Counter()
        for size in self._sizes:
            totals.update(size)
        self._totals = totals
        # How many rows each place has beyond its share.
        self._excess = [{label: -share * count for label, count in totals.items()} for share in shares]
        self.of = [-1] * len(counts)
        order = list(range(len(counts)))
        random.Random(seed).shuffle(order)
        order.sort(key=lambda member: -self._sizes[member][None])
        for member in order:
            self.move(member, min(range(len(shares)), key=lambda to: self._cost(member, to)))
        for _ in range(_PASSES):
            moved = False
            for member in order:
                best = min(range(len(shares)), key=lambda to: self.cost_of_move(member, to))
                if self.cost_of_move(member, best) < -_LEAST_GAIN:
                    self.move(member, best)
                    moved = True
            if not moved:
                break

    def cost_of_move(self, member: int, to: int) -> float:
        """By how much the cost rises if this group moves there."""
        if to == self.of[member]:
            return 0.0
        here = self._excess[self.of[member]]
        left = sum(
            count * (count - 2 * here[label]) / self._totals[label] for label, count in self._sizes[member].items()
        )
        return left + self._cost(member, to)

    def move(self, member: int, to: int) -> None:
        """Put a group there."""
        for label, count in self._sizes[member].items():
            if self.of[member] >= 0:
                self._excess[self.of[member]][label] -= count
            self._excess[to][label] += count
        self.of[member] = to

    def _cost(self, member: int, to: int) -> float:
        """By how much the cost of a place rises with this group."""
        there = self._excess[to]
        return sum(
            count * (count + 2 * there[label]) / self._totals[label] for label, count in self._sizes[member].items()
        )


def _grouping(group_by: str) -> Callable[[Video], str | None]:
    """What names a video's group; None for a video that is a group of its own."""
    kind, _, pattern = group_by.partition(":")
    if kind == "regex" and pattern:
        return _regex_grouping(pattern)
    if group_by == "group":
        return lambda video: video.group
    if group_by == "file":
        return lambda video: None
    if group_by == "folder":
        return lambda video: str(video.path).replace("\\", "/").rpartition("/")[0]
    raise UsageError(f"group-by is {group_by!r}; expected {', '.join(GROUPINGS)}")


def _regex_grouping(pattern: str) -> Callable[[Video], str | None]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{pattern!r} is no regular expression ({error}); correct --group-by") from error

    def name_of(video: Video) -> str:
        found = compiled.search(str(video.path))
        if found is None:
            raise UsageError(f"{video.path} does not match {pattern!r}; correct --group-by so that it fits every path")
        return "/".join(part or "" for part in found.groups()) or found.group()

    return name_of
