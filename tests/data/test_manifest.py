"""Manifests: what is written is read again, and what is wrong is named by file, line and field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openkith.data import ROLES, Manifest, Row, read_manifest, write_manifest
from openkith.errors import ManifestError

HEADER = "path\tspeaker\trole\tstart\tend"
GOOD = f"""{HEADER}
a1.wav\tanna\tenroll\t\t
a2.wav\tanna\ttest\t0.5\t2
sub/b1.wav\tben\ttest\t\t1e1
n1.wav\tnora\tnegative\t\t
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("a1.wav", "a2.wav", "sub/b1.wav", "n1.wav", "with space.wav"):
        (tmp_path / name).touch()
    return tmp_path


def manifest_of(folder: Path, content: str | bytes) -> Path:
    path = folder / "set.tsv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def error_of(folder: Path, *lines: str, header: str = HEADER) -> str:
    path = manifest_of(folder, "\n".join((header, *lines)) + "\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


def test_reads_rows_roles_and_times(folder: Path) -> None:
    manifest = read_manifest(manifest_of(folder, GOOD))
    root = folder.resolve()
    assert manifest.name == "set"
    assert manifest.rows == (
        Row(root / "a1.wav", "anna", "enroll"),
        Row(root / "a2.wav", "anna", "test", 0.5, 2.0),
        Row(root / "sub" / "b1.wav", "ben", "test", None, 10.0),
        Row(root / "n1.wav", "nora", "negative"),
    )
    assert [row.line for row in manifest.rows] == [2, 3, 4, 5]
    assert [row.speaker for row in manifest.enroll] == ["anna"]
    assert [row.speaker for row in manifest.test] == ["anna", "ben"]
    assert [row.speaker for row in manifest.negative] == ["nora"]
    assert manifest.speakers == ("anna",)
    assert manifest.unknown_speakers == ("ben",)
    manifest.check_evaluable()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
        lambda text: ("# a comment\n\n" + text.replace("\nsub", "\n \t\n# more\tof\tit\nsub")).encode(),
        lambda text: text.rstrip("\n").encode(),
        lambda text: re.sub(r"\t+\n", "\n", text).encode(),  # editors cut the tabs at the ends of lines
        lambda text: text.replace("\tanna\t", "\t anna \t").encode(),
    ],
    ids=["bom", "crlf", "bom-crlf", "comments", "no-last-newline", "cut-tabs", "spaces"],
)
def test_same_rows_however_it_was_saved(folder: Path, change) -> None:
    plain = read_manifest(manifest_of(folder, GOOD)).rows
    assert read_manifest(manifest_of(folder, change(GOOD))).rows == plain


def test_columns_in_another_order_and_without_times(folder: Path) -> None:
    rows = read_manifest(manifest_of(folder, "role\tpath\tspeaker\ntest\ta1.wav\tanna\n")).rows
    assert rows == (Row(folder.resolve() / "a1.wav", "anna", "test"),)


def test_lines_are_counted_with_comments_and_blanks(folder: Path) -> None:
    assert error_of(folder, "# one", "", "a1.wav\tanna\tenrol\t\t").startswith(":4: field 'role': 'enrol'")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a1.wav\tanna\tguest\t\t", ":2: field 'role': 'guest' is unknown; use enroll, test or negative"),
        ("a1.wav\tanna", ":2: field 'role': '' is unknown"),
        ("a1.wav\t\ttest\t\t", ":2: field 'speaker': empty"),
        ("\tanna\ttest\t\t", ":2: field 'path': empty"),
        ("a1.wav\tan\x07na\ttest\t\t", ":2: field 'speaker': 'an\\x07na' has a control character"),
        ("a1\x00.wav\tanna\ttest\t\t", ":2: field 'path': 'a1\\x00.wav' has a control character"),
        ("a1.wav\tunknown\tenroll\t\t", ":2: field 'speaker': 'unknown' is the name"),
        ("a1.wav\tanna\ttest\t2\t2", ":2: field 'end': 2.0 is not after start 2.0"),
        ("a1.wav\tanna\ttest\t2\t1.5", ":2: field 'end': 1.5 is not after start 2.0"),
        ("a1.wav\tanna\ttest\t\t0", ":2: field 'end': 0.0 is not after start 0.0"),
        ("a1.wav\tanna\ttest\t-1\t", ":2: field 'start': -1.0 is not a time"),
        ("a1.wav\tanna\ttest\t0\t-1", ":2: field 'end': -1.0 is not a time"),
        ("a1.wav\tanna\ttest\t1e999\t", ":2: field 'start': inf is not a time"),
        ("a1.wav\tanna\ttest\tnan\t", ":2: field 'start': 'nan' is not a number"),
        ("a1.wav\tanna\ttest\t\tinf", ":2: field 'end': 'inf' is not a number"),
        ("a1.wav\tanna\ttest\t1,5\t", ":2: field 'start': '1,5' is not a number"),
        ("a1.wav\tanna\ttest\t1_0\t", ":2: field 'start': '1_0' is not a number"),
        ("a1.wav\tanna\ttest\t\t\t", ":2: field 6: 6 fields under 5 columns"),
        ("gone.wav\tanna\ttest\t\t", ":2: field 'path': no file"),
        ("sub\tanna\ttest\t\t", ":2: field 'path': no file"),
        (f"{'x' * 5000}.wav\tanna\ttest\t\t", ":2: field 'path': no file"),
        ("a1.wav anna test", ":2: field 'speaker': empty"),
    ],
)
def test_a_wrong_line_is_named(folder: Path, line: str, expected: str) -> None:
    message = error_of(folder, line)
    assert message.startswith(expected)
    assert re.search(r"[;,] \w", message)  # a remedy follows


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("path\tspeaker", ":1: header: no column 'role'"),
        ("path\tspeaker\trole\tstat\tend", ":1: header: 'stat' is not a column of a manifest"),
        ("path\tspeaker\trole\trole", ":1: header: 'role' appears twice"),
        ("path speaker role start end", ":1: header: 'path speaker role start end' is not a column"),
        ("a1.wav\tanna\tenroll\t\t", ":1: header: 'a1.wav' is not a column"),
    ],
)
def test_a_wrong_header_is_named(folder: Path, header: str, expected: str) -> None:
    message = error_of(folder, "a1.wav\tanna\ttest", header=header)
    assert message.startswith(expected)
    assert "path<tab>speaker<tab>role<tab>start<tab>end" in message


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ("a1.wav\tanna\tenroll", "a1.wav\tanna\ttest"),
            "3: field 'path': the same clip enrols and tests (see line 2)",
        ),
        (
            ("a1.wav\tanna\ttest", "a1.wav\tanna\tenroll"),
            "3: field 'path': the same clip enrols and tests (see line 2)",
        ),
        (
            ("a1.wav\tanna\tenroll", "sub/../a1.wav\tanna\ttest"),
            "3: field 'path': the same clip enrols and tests",
        ),
        (
            ("a1.wav\tanna\tenroll\t\t3", "a1.wav\tanna\ttest\t2.5\t"),
            "3: field 'start': the same clip enrols and tests",
        ),
        (
            ("a1.wav\tanna\ttest\t2.5\t", "a1.wav\tanna\tenroll\t\t3"),
            "3: field 'start': the same clip enrols and tests",
        ),
        (
            ("a1.wav\tanna\tenroll\t0\t9", "a1.wav\tanna\tenroll\t1\t2", "a1.wav\tanna\ttest\t3\t4"),
            "4: field 'start': the same clip enrols and tests (see line 2)",
        ),
        (
            ("n1.wav\tnora\tnegative", "n1.wav\tnora\ttest"),
            "3: field 'path': the same clip is a negative and tests",
        ),
        (
            ("a1.wav\tanna\ttest", "a1.wav\tanna\ttest"),
            "3: field 'path': the same clip appears twice (see line 2)",
        ),
        (("a1.wav\tanna\ttest\t0\t", "a1.wav\tanna\ttest"), "3: field 'path': the same clip appears twice"),
        (
            ("a1.wav\tanna\ttest", "a1.wav\tben\ttest"),
            "3: field 'path': the same clip has two speakers, 'anna' and 'ben'",
        ),
        (
            ("a1.wav\tanna\tenroll", "a2.wav\tanna\tnegative"),
            "3: field 'role': 'anna' is enrolled and a negative",
        ),
        (
            ("a1.wav\tanna\tnegative", "a2.wav\tanna\tenroll"),
            "2: field 'role': 'anna' is enrolled and a negative",
        ),
    ],
)
def test_contradictions_between_rows(folder: Path, lines: tuple[str, ...], expected: str) -> None:
    assert error_of(folder, *lines).removeprefix(":").startswith(expected)


def test_parts_that_only_touch_and_people_who_talk_at_once_are_fine(folder: Path) -> None:
    lines = (
        HEADER,
        "a1.wav\tanna\tenroll\t\t2",
        "a1.wav\tanna\ttest\t2\t4",
        "a1.wav\tben\ttest\t1\t3",
        "a1.wav\tanna\ttest\t3\t5",  # test clips may overlap: neither is learnt from
    )
    assert len(read_manifest(manifest_of(folder, "\n".join(lines))).rows) == 4


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ": no lines"),
        (b"# only a comment\n", ": no lines"),
        (f"{HEADER}\n".encode(), ": no rows under the header"),
        (f"{HEADER}\na1.wav\tanna\ttest\n".encode("utf-16"), ":1: not UTF-8 text"),
        (f"{HEADER}\na1.wav\tJosé\ttest\n".encode("latin-1"), ":2: not UTF-8 text"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", ":1: header:"),
    ],
)
def test_what_is_no_manifest(folder: Path, content: bytes, expected: str) -> None:
    path = manifest_of(folder, content)
    with pytest.raises(ManifestError, match=f"^{re.escape(str(path) + expected)}"):
        read_manifest(path)


def test_no_such_file_and_a_folder(folder: Path) -> None:
    with pytest.raises(ManifestError, match=r"gone\.tsv: cannot read: No such file"):
        read_manifest(folder / "gone.tsv")
    with pytest.raises(ManifestError, match="a folder, not a manifest"):
        read_manifest(folder)
    with pytest.raises(ManifestError, match="cannot read"):
        read_manifest("nul\x00.tsv")


def test_evaluation_needs_enroll_and_test_rows(folder: Path) -> None:
    only_test = read_manifest(manifest_of(folder, f"{HEADER}\na1.wav\tanna\ttest\n"))
    with pytest.raises(ManifestError, match=r"no row is 'enroll'.*give some clips the role enroll"):
        only_test.check_evaluable()
    only_enroll = read_manifest(manifest_of(folder, f"{HEADER}\na1.wav\tanna\tenroll\n"))
    with pytest.raises(ManifestError, match="no row is 'test'"):
        only_enroll.check_evaluable()


def test_composed_and_decomposed_names_are_one_speaker(folder: Path) -> None:
    text = f"{HEADER}\na1.wav\tJose\u0301\tenroll\na2.wav\tJos\u00e9\ttest\n"
    manifest = read_manifest(manifest_of(folder, text))
    assert manifest.speakers == ("Jos\u00e9",)
    assert manifest.unknown_speakers == ()


def test_written_paths_are_relative_and_move_with_the_folder(folder: Path) -> None:
    rows = [
        Row(folder / "sub" / "b1.wav", "ben", "test"),
        Row(folder / "a1.wav", "anna", "enroll", 0.25, 1.0),
    ]
    write_manifest(folder / "sub" / "out.tsv", rows)
    text = (folder / "sub" / "out.tsv").read_text(encoding="utf-8")
    assert text == f"{HEADER}\nb1.wav\tben\ttest\t\t\n../a1.wav\tanna\tenroll\t0.25\t1.0\n"
    moved = folder.rename(folder.with_name("moved"))
    assert read_manifest(moved / "sub" / "out.tsv").rows[0].path == (moved / "sub" / "b1.wav").resolve()


def test_names_that_look_like_comments_or_begin_with_a_space(folder: Path) -> None:
    rows = tuple(Row(folder / name, "anna", "test") for name in ("#1.wav", " 2.wav"))
    for row in rows:
        row.path.touch()
    write_manifest(folder / "out.tsv", rows)
    assert [row.path.name for row in read_manifest(folder / "out.tsv").rows] == ["#1.wav", " 2.wav"]


def test_writing_through_a_linked_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "deep").mkdir()
    (folder / "link").symlink_to(elsewhere / "deep", target_is_directory=True)
    write_manifest(folder / "link" / "out.tsv", [Row(folder / "a1.wav", "anna", "test")])
    assert read_manifest(folder / "link" / "out.tsv").rows[0].path.samefile(folder / "a1.wav")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(folder: Path) -> None:
    path = manifest_of(folder, GOOD)
    before = sorted(folder.iterdir())
    with pytest.raises(ManifestError, match="cannot write"):
        write_manifest(path, [Row(folder / "\udcff.wav", "anna", "test")])
    with pytest.raises(ManifestError, match="appears twice"):
        write_manifest(
            path, [Row(folder / "a1.wav", "anna", "test")] * 2 + [Row(folder / "a1.wav", "anna", "test")]
        )
    with pytest.raises(ManifestError, match="cannot write"):
        write_manifest(folder / "gone" / "out.tsv", [Row(folder / "a1.wav", "anna", "test")])
    assert path.read_text(encoding="utf-8") == GOOD
    assert sorted(folder.iterdir()) == before


def test_rows_made_by_hand_are_checked_too(folder: Path) -> None:
    with pytest.raises(ManifestError, match="field 'role'"):
        Row(folder / "a1.wav", "anna", "enrol")
    row = Row(folder / "a1.wav", "anna", "enroll")
    with pytest.raises(ManifestError, match="enrols and tests"):
        Manifest("x", (row, Row(row.path, "anna", "test")), folder)


def test_the_real_manifests(speech: Path) -> None:
    """The counts of the table in the README of the speech folder."""
    counts = {
        path.stem: (len(manifest.speakers), len(known), len(manifest.test) - len(known))
        for path in sorted(speech.glob("*.tsv"))
        for manifest in [read_manifest(path)]
        for known in [[row for row in manifest.test if row.speaker in manifest.speakers]]
    }
    assert counts["home-clean"] == (10, 70, 63)
    assert counts["home-short"] == (10, 133, 125)
    assert counts["home-noisy"] == (10, 97, 116)
    assert counts["crowd-40"] == (40, 126, 60)
    assert counts["digits-0"] == counts["digits-1"] == counts["digits-2"] == (3, 180, 195)


# ---- properties

names = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/\\"), min_size=1, max_size=12
).filter(lambda name: name == name.strip(" ") and name not in (".", "..", "unknown"))
seconds = st.none() | st.floats(0, 1e6, allow_nan=False)


@st.composite
def row_lists(draw: st.DrawFn) -> list[tuple[str, str, str, float | None, float | None]]:
    """Rows with a file each, whose speakers are either enrolled or negatives."""
    files = draw(st.lists(names, min_size=1, max_size=8, unique=True))
    speakers = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    negatives = set(draw(st.lists(st.sampled_from(speakers), max_size=2)))
    rows = []
    for file in files:
        speaker = draw(st.sampled_from(speakers))
        role = draw(st.sampled_from(("negative", "test") if speaker in negatives else ("enroll", "test")))
        start, end = draw(seconds), draw(seconds)
        if end is not None and end <= (start or 0.0):
            end = None
        rows.append((file, speaker, role, start, end))
    return rows


@given(row_lists())
@settings(max_examples=100, deadline=None)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, fields) -> None:
    folder = tmp_path_factory.mktemp("round")
    rows = tuple(Row(folder / file, *rest) for file, *rest in fields)
    negatives = {row.speaker for row in rows if row.role == "negative"}  # NFC may have joined two names
    if negatives & {row.speaker for row in rows if row.role == "enroll"}:
        return
    for row in rows:
        row.path.touch()
    write_manifest(folder / "set.tsv.out", rows)
    assert read_manifest(folder / "set.tsv.out").rows == tuple(
        Row(folder.resolve() / row.path.name, row.speaker, row.role, row.start, row.end) for row in rows
    )


cells = st.sampled_from(
    [
        "a1.wav",
        "a2.wav",
        "gone.wav",
        "",
        " ",
        "anna",
        "ben",
        "unknown",
        *ROLES,
        "0",
        "1.5",
        "-1",
        "nan",
        "1e400",
    ]
) | st.text(max_size=6)


@given(st.lists(st.lists(cells, max_size=7).map("\t".join), max_size=4), st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=300, deadline=None)
def test_any_lines_are_read_or_refused_by_line(
    tmp_path_factory: pytest.TempPathFactory, lines, newline
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    (folder / "a1.wav").touch()
    (folder / "a2.wav").touch()
    path = manifest_of(folder, newline.join([HEADER, *lines]).encode("utf-8", "surrogatepass"))
    problem, rows = "", ()
    try:
        rows = read_manifest(path).rows
    except ManifestError as error:
        problem = str(error)
    if problem:
        assert re.match(re.escape(str(path)) + r"(:\d+: (field|not UTF-8)|: no rows)", problem)
    else:
        assert 1 <= len(rows) <= len(lines)
        assert all(row.role in ROLES and row.path.is_file() for row in rows)


@given(st.binary(max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = manifest_of(tmp_path_factory.mktemp("bytes"), content)
    with pytest.raises(ManifestError, match=r"set\.tsv"):
        read_manifest(path)
