"""Lists as files: what is written comes back; each column, each damage, each slip of the pen."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.data.manifest import Manifest, Video
from fewframes.data.manifest_io import classes_file_of, read_manifest, write_manifest
from fewframes.errors import InvalidManifest, UsageError

FORMATS = ("csv", "jsonl", "parquet")


@pytest.fixture(autouse=True)
def _pyarrow() -> None:
    pytest.importorskip("pyarrow", reason="Parquet lists need the extra `parquet`")


def listed(folder: Path, content: str | bytes, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parquet(folder: Path, columns: dict[str, Any]) -> Path:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), folder / "list.parquet")
    return folder / "list.parquet"


# --- what is written comes back ---------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=9)
PLAIN = TEXTS.map(str.strip).filter(bool)  # what CSV can hold
ROOT = "/lists of mine"


@st.composite
def videos(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> Video:
    name = draw(texts.map(lambda text: text.replace("/", "_")).filter(lambda text: text.strip() not in ("", ".", "..")))
    path = draw(
        st.sampled_from(
            (Path("HERE", name), Path("HERE/a, b", name), Path("/else where", name), f"tar://{name}::/x.tar")
        )
    )
    start = draw(st.none() | st.floats(0, 1e9))
    length = draw(st.none() | st.floats(1e-3, 1e9).filter(lambda length: (start or 0.0) + length > (start or 0.0)))
    return Video(
        path=path,
        labels=tuple(draw(st.lists(texts.map(lambda text: text.replace("|", "/")), unique=True, max_size=3))),
        split=draw(st.none() | texts),
        group=draw(st.none() | texts),
        start=start,
        end=None if length is None else (start or 0.0) + length,
        weight=draw(st.just(1.0) | st.floats(1e-300, 1e300)),
    )


def inside(folder: Path, found: list[Video]) -> tuple[Video, ...]:
    """The same videos with HERE as a folder that exists."""
    return tuple(
        replace(each, path=folder / each.path.relative_to("HERE"))
        if isinstance(each.path, Path) and not each.path.is_absolute()
        else each
        for each in found
    )


def check_round_trip(found: list[Video], kind: str, *, state_classes: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(os.path.realpath(name), "deep", "er")
        listing = inside(folder, found)
        classes = sorted({label for video in listing for label in video.labels}, reverse=True)
        stated = (*classes, "one more") if state_classes and "one more" not in classes else None
        manifest = Manifest("anywhere", listing, ("a note",), stated)
        path = write_manifest(manifest, folder / f"list.{kind}")
        again = read_manifest(path)
        assert again.videos == listing
        assert again.classes == stated
        assert (again.source, again.notes) == (str(path), ())
        assert again.sha256 == manifest.sha256
        first = path.read_bytes()
        assert write_manifest(again, path).read_bytes() == first, "and nothing is left to change"
        expected = {path.name, classes_file_of(path).name} if stated else {path.name}
        assert {each.name for each in folder.iterdir()} == expected


@given(st.lists(videos(PLAIN), min_size=1, max_size=6))
def test_csv_round_trip(found: list[Video]) -> None:
    check_round_trip(found, "csv", state_classes=False)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@given(found=st.lists(videos(TEXTS), min_size=1, max_size=6))
def test_round_trip_of_any_text(kind: str, found: list[Video]) -> None:
    check_round_trip(found, kind, state_classes=False)


@pytest.mark.parametrize("kind", FORMATS)
@given(found=st.lists(videos(PLAIN.filter(lambda text: not {*"\n\r"} & {*text})), min_size=1, max_size=4))
def test_round_trip_with_classes(kind: str, found: list[Video]) -> None:
    check_round_trip(found, kind, state_classes=True)


FULL = Manifest(
    "by hand",
    (
        Video(Path("HERE/a b.mp4"), ("walk", "wave, slowly"), "train", "p1", 1.5, 4.0, 0.25),
        Video(Path('HERE/sub/é "x".mp4'), ("run",), "test"),
        Video("https://example.org/c.mp4?a=1,2", (), None, None, None, 2.0),
    ),
    classes=("walk", "run", "wave, slowly"),
)


def full(folder: Path) -> Manifest:
    return replace(FULL, videos=inside(folder, list(FULL.videos)))


def test_csv_by_hand(tmp_path: Path) -> None:
    path = write_manifest(full(tmp_path), tmp_path / "list.CSV")
    assert path.read_text() == (
        "path,label,start,end,split,group,weight\n"
        'a b.mp4,"walk|wave, slowly",1.5,4.0,train,p1,0.25\n'
        '"sub/é ""x"".mp4",run,,,test,,\n'
        '"https://example.org/c.mp4?a=1,2",,,2.0,,,\n'
    )
    assert (tmp_path / "list.labels.txt").read_text() == "walk\nrun\nwave, slowly\n"
    assert read_manifest(path).videos == full(tmp_path).videos
    assert read_manifest(path).labels == ("walk", "run", "wave, slowly"), "the stated order, not the alphabet's"


def test_json_lines_by_hand(tmp_path: Path) -> None:
    path = write_manifest(full(tmp_path), tmp_path / "list.jsonl")
    assert path.read_text() == (
        '{"path": "a b.mp4", "label": ["walk", "wave, slowly"], "start": 1.5, "end": 4.0, "split": "train", '
        '"group": "p1", "weight": 0.25}\n'
        '{"path": "sub/é \\"x\\".mp4", "label": "run", "split": "test"}\n'
        '{"path": "https://example.org/c.mp4?a=1,2", "label": [], "end": 2.0}\n'
    )


def test_parquet_by_hand(tmp_path: Path) -> None:
    from pyarrow import parquet

    path = write_manifest(full(tmp_path), tmp_path / "list.parquet")
    table = parquet.read_table(path)
    assert table.column_names == ["path", "label", "start", "end", "split", "group", "weight"]
    assert list(map(str, table.schema.types)) == [
        *("string", "list<element: string>", "double", "double", "string", "string", "double")
    ]
    assert table.column("label").to_pylist() == [["walk", "wave, slowly"], ["run"], []]
    single = write_manifest(Manifest("m", (Video("x://a", ("run",)),)), tmp_path / "single.parquet")
    table = parquet.read_table(single)
    assert dict(zip(table.column_names, map(str, table.schema.types), strict=True)) == {
        "path": "string",
        "label": "string",
    }


@pytest.mark.parametrize("one", FORMATS)
@pytest.mark.parametrize("other", FORMATS)
def test_one_list_in_every_form(tmp_path: Path, one: str, other: str) -> None:
    first = read_manifest(write_manifest(full(tmp_path), tmp_path / f"a.{one}"))
    second = read_manifest(write_manifest(first, tmp_path / f"b.{other}"))
    assert (second.videos, second.classes, second.sha256) == (first.videos, first.classes, first.sha256)


# --- writing ----------------------------------------------------------------------------------------------------------


def test_paths_are_relative_where_they_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = (Video(Path("v/a.mp4"), ("x",)), Video("v/b.mp4", ("x",)), Video(tmp_path / "lists/../v/c.mp4", ("x",)))
    manifest = Manifest("m", (*found, Video(tmp_path / "lists/v/d.mp4", ("x",))))
    path = write_manifest(manifest, "lists/list.csv")
    assert path.read_text().splitlines() == [
        "path,label",
        f"{tmp_path}/v/a.mp4,x",
        f"{tmp_path}/v/b.mp4,x",
        f"{tmp_path}/v/c.mp4,x",
        "v/d.mp4,x",
    ]
    # A list and its videos move together.
    (tmp_path / "lists").rename(tmp_path / "moved")
    assert read_manifest("moved/list.csv").videos[-1].path == Path("moved/v/d.mp4")


def test_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    video = Video(Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.mp4")), ("x",))
    video.path.touch()  # type: ignore[union-attr]
    manifest = Manifest("m", (video,))
    assert read_manifest(write_manifest(manifest, tmp_path / "m.jsonl")).videos == (video,)
    for kind in ("csv", "parquet"):
        with pytest.raises(UsageError, match=r"caf\\udce9.* is no valid text; write a \.jsonl file instead"):
            write_manifest(manifest, tmp_path / f"m.{kind}")
    assert [each.name for each in tmp_path.iterdir() if each.suffix != ".mp4"] == ["m.jsonl"]


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (Video(Path("/a.mp4"), ("up|down",)), r"the label of /a\.mp4 holds '\|'; write a \.jsonl file instead"),
        (Video(Path("/a.mp4"), (" up",)), r"CSV cannot hold the spaces around ' up'; write a \.jsonl file"),
        (Video(Path("/a.mp4"), ("up",), "test\n"), r"CSV cannot hold the spaces around 'test\\n'"),
        (Video(Path("/a.mp4"), ("up",), None, " "), r"CSV cannot hold the spaces around ' '"),
        (Video(Path("/a.mp4 "), ("up",)), r"CSV cannot hold the spaces around '/a\.mp4 '"),
    ],
)
def test_what_csv_cannot_hold(tmp_path: Path, video: Video, message: str) -> None:
    manifest = Manifest("m", (video,))
    with pytest.raises(UsageError, match=message):
        write_manifest(manifest, tmp_path / "list.csv")
    assert list(tmp_path.iterdir()) == []
    assert read_manifest(write_manifest(manifest, tmp_path / "list.jsonl")).videos == (video,)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("video", "message"),
    [
        (Video(Path("/a.mp4"), ("",)), r"video 2: label is \[''\]; expected one text"),
        (Video(Path("/a.mp4"), ("x", "x")), r"video 2: a label occurs twice"),
        (Video(Path("/a.mp4"), ("x",), start=-1.0), r"video 2: start is -1\.0 and end is None; expected seconds"),
        (Video(Path("/a.mp4"), ("x",), start=3.0, end=3.0), r"video 2: start is 3\.0 and end is 3\.0"),
        (Video(Path("/a.mp4"), ("x",), end=float("nan")), r"video 2: end is nan; expected a number"),
        (Video(Path("/a.mp4"), ("x",), weight=0.0), r"video 2: weight is 0\.0; expected a number above 0"),
        (Video("x:// ", ("x",), weight=float("inf")), r"video 2: weight is inf; expected a number"),
    ],
)
def test_what_no_list_can_hold(tmp_path: Path, kind: str, video: Video, message: str) -> None:
    with pytest.raises(InvalidManifest, match=rf"list\.{kind} {message}"):
        write_manifest(Manifest("m", (Video(Path("/0.mp4"), ("x",)), video)), tmp_path / f"list.{kind}")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_split_or_group_is_none(tmp_path: Path) -> None:
    path = write_manifest(Manifest("m", (Video(Path("/a.mp4"), ("x",), "", ""),)), tmp_path / "list.jsonl")
    assert path.read_text() == '{"path": "/a.mp4", "label": "x"}\n'


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("x", "y", "x"), r"list\.labels\.txt: a class occurs twice"),
        (("x", ""), r"list\.labels\.txt: '' cannot stand on a line of its own; rename the class"),
        (("x", "y "), r"'y ' cannot stand on a line"),
        (("x", "y\nz"), r"'y\\nz' cannot stand on a line"),
        (("x", "y\rz"), r"'y\\rz' cannot stand on a line"),
        (("xx", "y"), r"m: the label of /a\.mp4 is not in list\.labels\.txt: unknown label 'x'; did you mean 'xx'"),
    ],
)
def test_classes_that_no_file_can_hold(tmp_path: Path, classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidManifest, match=message):
        write_manifest(Manifest("m", (Video(Path("/a.mp4"), ("x",)),), classes=classes), tmp_path / "list.csv")
    assert list(tmp_path.iterdir()) == []


def test_classes_of_an_older_list_do_not_stay(tmp_path: Path) -> None:
    manifest = Manifest("m", (Video(Path("/a.mp4"), ("x",)),), classes=("y", "x"))
    path = write_manifest(manifest, tmp_path / "list.csv")
    assert read_manifest(path).classes == ("y", "x")
    write_manifest(replace(manifest, classes=None), path)
    assert read_manifest(path).classes is None
    assert not classes_file_of(path).exists()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    manifest = Manifest("m", (Video(Path("/a.mp4"), ("x",)),))
    for name, found in (("list.txt", ".txt"), ("list", "nothing"), ("list.json", ".json")):
        with pytest.raises(UsageError, match=rf"{name} ends in {found}; expected \.csv, \.jsonl, \.parquet"):
            write_manifest(manifest, tmp_path / name)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match=r"cannot write .*file/list\.csv \(.*\); choose another place"):
        write_manifest(manifest, tmp_path / "file" / "list.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match=r"cannot write .*folder\.csv \(Is a directory\)"):
        write_manifest(manifest, tmp_path / "folder.csv")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder.csv"], "no half-written file is left"


def test_a_failure_leaves_the_old_list(tmp_path: Path) -> None:
    manifest = Manifest("m", (Video(Path("/a.mp4"), ("x",)),))
    path = write_manifest(manifest, tmp_path / "list.csv")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="spaces around"):
        write_manifest(replace(manifest, videos=(*manifest.videos, Video(Path("/b.mp4"), ("x ",)))), path)
    assert path.read_bytes() == before


# --- reading ----------------------------------------------------------------------------------------------------------


def test_several_labels_or_none(tmp_path: Path) -> None:
    path = listed(tmp_path, "path,label\na.mp4,x| y |z\nb.mp4,\nc.mp4,  \n")
    assert [video.labels for video in read_manifest(path).videos] == [("x", "y", "z"), (), ()]
    lines = ('{"path": "a.mp4", "label": ["x", "y|z"]}', '{"path": "b.mp4", "label": null}', '{"path": "c.mp4"}')
    path = listed(tmp_path, "\n".join((*lines, '{"path": "d.mp4", "label": "x|y"}')), "list.jsonl")
    assert [video.labels for video in read_manifest(path).videos] == [("x", "y|z"), (), (), ("x|y",)]
    path = parquet(tmp_path, {"path": ["a", "b", "c"], "label": [["x", "y"], [], None]})
    assert [video.labels for video in read_manifest(path).videos] == [("x", "y"), (), ()]


def test_parts_and_weights(tmp_path: Path) -> None:
    path = listed(tmp_path, "weight,end,start,path,label\n2,3,1,a,x\n,0.5,,b,x\n1e-3,,7,c,x\n")
    found = [(video.start, video.end, video.weight) for video in read_manifest(path).videos]
    assert found == [(1.0, 3.0, 2.0), (None, 0.5, 1.0), (7.0, None, 0.001)]
    path = parquet(tmp_path, {"path": ["a", "b"], "label": ["x", "y"], "start": [1, 2], "end": [2.5, None]})
    assert [(video.start, video.end) for video in read_manifest(path).videos] == [(1.0, 2.5), (2.0, None)]


@pytest.mark.parametrize(
    "address", ["https://e.org/a b.mp4?x=1#t", "s3://bucket/a.mp4", "tar://in/a.mp4::/x/shard.tar", "rtsp://cam/1"]
)
@pytest.mark.parametrize("kind", FORMATS)
def test_addresses_stay_as_they_are(tmp_path: Path, address: str, kind: str) -> None:
    video = Video(address, ("x",))
    (again,) = read_manifest(write_manifest(Manifest("m", (video,)), tmp_path / f"list.{kind}")).videos
    assert again.path == address
    assert isinstance(again.path, str)


def test_a_group_column_of_another_name(tmp_path: Path) -> None:
    path = listed(tmp_path, "path,label,person,group\na.mp4,x,anna,1\nb.mp4,y,,2\n")
    assert [video.group for video in read_manifest(path, group_column="person").videos] == ["anna", None]
    assert [video.group for video in read_manifest(path).videos] == ["1", "2"]
    with pytest.raises(InvalidManifest, match=r"no column 'scene' for the groups; it has path, label, person, group"):
        read_manifest(path, group_column="scene")
    path = parquet(tmp_path, {"path": ["a"], "label": ["x"], "take": [7], "split1": ["test"]})
    (video,) = read_manifest(path, split_column="split1", group_column="take").videos
    assert (video.group, video.split) == ("7", "test")


def test_unused_columns_are_noted(tmp_path: Path) -> None:
    path = listed(tmp_path, "path,label,height,duration,split1,split2,split\na.mp4,x,128,3,train,test,val\n")
    manifest = read_manifest(path)
    assert manifest.notes == (f"columns of {path} that are not used: height, duration",)
    assert manifest.videos[0].split == "val"
    assert read_manifest(listed(tmp_path, "path,label,weight,weigth\na,x,2,3\n")).notes == (
        f"columns of {path} that are not used: weigth",
    ), "not misspelt if the right one is there too"


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        *[("spilt", "split"), ("Split", "split"), ("SPLIT", "split"), ("groups", "group"), ("gruop", "group")],
        *[("weigth", "weight"), ("weights", "weight"), ("Weight", "weight"), ("strat", "start"), ("starts", "start")],
        *[("ends", "end"), ("End", "end")],
    ],
)
def test_misspelt_columns_are_refused(tmp_path: Path, column: str, meant: str) -> None:
    with pytest.raises(InvalidManifest, match=rf"list\.csv: unknown column '{column}'; did you mean '{meant}'\?"):
        read_manifest(listed(tmp_path, f"path,label,{column}\na.mp4,x,1\n"))
    with pytest.raises(InvalidManifest, match=rf"unknown column '{column}'; did you mean '{meant}'\?"):
        read_manifest(listed(tmp_path, json.dumps({"path": "a", "label": "x", column: 1}), "list.jsonl"))


@pytest.mark.parametrize("column", ["height", "width", "fps", "duration", "set", "sequence", "state", "id", "length"])
def test_other_words_are_not_misspelt(tmp_path: Path, column: str) -> None:
    manifest = read_manifest(listed(tmp_path, f"path,label,{column}\na.mp4,x,1\n"))
    assert manifest.notes == (f"columns of {manifest.source} that are not used: {column}",)


@pytest.mark.parametrize("column", ["Path", "paths", "file"])
def test_a_list_of_another_form(tmp_path: Path, column: str) -> None:
    with pytest.raises(InvalidManifest, match=rf"no column 'path' in {column},label; .*`fewframes data import`"):
        read_manifest(listed(tmp_path, f"{column},label\na.mp4,x\n"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,x,-1,2,1", r"start is -1\.0 and end is 2\.0; expected seconds with 0 <= start < end"),
        ("a,x,2,2,1", r"start is 2\.0 and end is 2\.0"),
        ("a,x,,0,1", r"start is None and end is 0\.0"),
        ("a,x,1s,2,1", r"start is '1s'; expected a number"),
        ("a,x,nan,2,1", r"start is 'nan'; expected a number"),
        ("a,x,1,inf,1", r"end is 'inf'; expected a number"),
        ("a,x,1,2,0", r"weight is 0\.0; expected a number above 0"),
        ("a,x,1,2,-3", r"weight is -3\.0; expected a number above 0"),
        ("a,x|x,1,2,1", r"a label occurs twice in 'x\|x'"),
        ("a,x||y,1,2,1", r"label is 'x\|\|y'; expected one text, or several"),
        ('"  ",x,1,2,1', r"empty path; expected a file's name"),
    ],
)
def test_damaged_values_in_csv(tmp_path: Path, line: str, message: str) -> None:
    content = f"path,label,start,end,weight\n\nok.mp4,x,1,2,1\n{line}\n"
    with pytest.raises(InvalidManifest, match=rf"list\.csv line 4: {message}"):
        read_manifest(listed(tmp_path, content))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"path": 3}', "empty path; expected a file's name"),
        ('{"path": "a", "label": 3}', "label is 3; expected one text, or several"),
        ('{"path": "a", "label": ["x", 3]}', r"label is \['x', 3\]; expected one text"),
        ('{"path": "a", "label": {"x": 1}}', "label is .*; expected one text"),
        ('{"path": "a", "split": ["x"]}', r"split is \['x'\]; expected a text"),
        ('{"path": "a", "group": true}', "group is True; expected a text"),
        ('{"path": "a", "start": true}', "start is True; expected a number"),
        ('{"path": "a", "end": [1]}', r"end is \[1\]; expected a number"),
        ('{"path": "a", "end": NaN}', "end is nan; expected a number"),
        (f'{{"path": "a", "end": {"9" * 400}}}', "end is 9+; expected a number"),
        ('["a", "x"]', "expected an object with path and label"),
        ('{"path": "a"', "not JSON .*; expected one object a line"),
        ("path,label", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (f'{{"path": {"9" * 5000}}}', "not JSON"),
    ],
    ids=range(15),
)
def test_damaged_json_lines(tmp_path: Path, line: str, message: str) -> None:
    content = f'\ufeff{{"path": "ok.mp4", "label": "x"}}\r\n\n{line}\n'
    with pytest.raises(InvalidManifest, match=rf"list\.jsonl line 3: {message}"):
        read_manifest(listed(tmp_path, content, "list.jsonl"))


def test_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match=r"list\.jsonl is empty; expected lines such as \{\"path\": \"a\.mp4\""):
        read_manifest(listed(tmp_path, "\n\n", "list.jsonl"))
    with pytest.raises(InvalidManifest, match=r"list\.jsonl is not in UTF-8 .*; save it so"):
        read_manifest(listed(tmp_path, '{"path": "é"}'.encode("latin-1"), "list.jsonl"))
    for content in (b"", b"PAR1", b"path,label\na.mp4,x\n"):
        with pytest.raises(InvalidManifest, match=r"list\.parquet is not a Parquet file \("):
            read_manifest(listed(tmp_path, content, "list.parquet"))
    whole = parquet(tmp_path, {"path": ["a"] * 500, "label": ["x"] * 500}).read_bytes()
    with pytest.raises(InvalidManifest, match=r"list\.parquet is not a Parquet file \("):
        read_manifest(listed(tmp_path, whole[: len(whole) // 2], "list.parquet"))
    with pytest.raises(InvalidManifest, match=r"list\.csv is not a CSV file in UTF-8 \(unexpected end of data\)"):
        read_manifest(listed(tmp_path, 'path,label\n"a.mp4,x\n'))


def test_damaged_values_in_parquet(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match=r"list\.parquet: no column 'label' in path,class; expected path,label"):
        read_manifest(parquet(tmp_path, {"path": ["a"], "class": ["x"]}))
    with pytest.raises(InvalidManifest, match=r"list\.parquet row 2: label is 1; expected one text, or several"):
        read_manifest(parquet(tmp_path, {"path": ["a", "b"], "label": [None, 1]}))
    with pytest.raises(InvalidManifest, match=r"list\.parquet row 2: empty path"):
        read_manifest(parquet(tmp_path, {"path": ["a", None], "label": ["x", "x"]}))
    with pytest.raises(InvalidManifest, match=r"list\.parquet row 1: end is b'3'; expected a number"):
        read_manifest(parquet(tmp_path, {"path": ["a"], "label": ["x"], "end": [b"3"]}))
    with pytest.raises(InvalidManifest, match=r"list\.parquet lists no videos; expected"):
        read_manifest(parquet(tmp_path, {"path": [], "label": []}))


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    path = parquet(tmp_path, {"path": ["a"], "label": ["x"]})

    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(UsageError, match=r"need pyarrow; install it: pip install 'fewframes\[parquet\]'"):
        read_manifest(path)


def test_the_classes_beside_a_list(tmp_path: Path) -> None:
    path = listed(tmp_path, "path,label\na.mp4,run\nb.mp4,\n")
    listed(tmp_path, "\ufeffwalk \r\n\r\nrun\r\n", "list.labels.txt")
    assert read_manifest(path).labels == ("walk", "run")
    listed(tmp_path, "walk\nrunning\n", "list.labels.txt")
    with pytest.raises(InvalidManifest, match=r"label of .*a\.mp4 is not in list\.labels\.txt: .* mean 'running'"):
        read_manifest(path)
    listed(tmp_path, "run\nwalk\nrun\n", "list.labels.txt")
    with pytest.raises(InvalidManifest, match=r"list\.labels\.txt: a class occurs twice"):
        read_manifest(path)
    listed(tmp_path, "ründ\n".encode("latin-1"), "list.labels.txt")
    with pytest.raises(InvalidManifest, match=r"list\.labels\.txt is not in UTF-8"):
        read_manifest(path)


def test_a_folder_with_a_list(tmp_path: Path) -> None:
    (tmp_path / "walk").mkdir()
    (tmp_path / "walk" / "a.mp4").touch()
    assert read_manifest(tmp_path).videos == (Video(tmp_path / "walk/a.mp4", ("walk",)),)
    for kind in reversed(FORMATS):
        path = write_manifest(Manifest("m", (Video(tmp_path / kind, ("x",)),)), tmp_path / f"manifest.{kind}")
        assert read_manifest(tmp_path).source == str(path), "CSV before JSON lines before Parquet"
        assert read_manifest(tmp_path).videos == (Video(tmp_path / kind, ("x",)),)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_tar_files_of_addresses_are_relative_to_the_list(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / f"list{suffix}"
    inside = f"tar://a.json::{tmp_path / 'lists' / 'pack-0.tar'}"
    outside = f"tar://a.json::{tmp_path / 'pack-0.tar'}"
    remote = "tar://a.json::https://example.org/pack-0.tar"
    videos = tuple(Video(address, ("x",)) for address in (inside, outside, remote))
    write_manifest(Manifest("m", videos), path)
    text = path.read_text()
    assert "tar://a.json::pack-0.tar" in text
    assert outside in text
    assert read_manifest(path).videos == videos
    # The list and its shards may move together.
    moved = (tmp_path / "lists").rename(tmp_path / "moved") / f"list{suffix}"
    assert read_manifest(moved).videos[0].path == f"tar://a.json::{tmp_path / 'moved' / 'pack-0.tar'}"
