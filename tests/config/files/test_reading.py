"""Files of every form and every kind of damage are read row by row, and from any row on."""

import gzip
import json
import os
import threading

import psutil
import pytest

from config.files.errors import DamagedFile, UnreadableFile
from config.files.reading import open_file
from config.files.rows import MAX_ROW_BYTES, Place
from tests.scale import scaled

BEGIN = Place()
AB = {"a": "1", "b": "2"}


def packed(content):
    """Return a gzip file, always the same."""
    return gzip.compress(content, mtime=0)


def rows_of(path, content, **options):
    """Return the rows, after a look that reading can go on after each of them."""
    path.write_bytes(content)
    rows = rows_from(path, **options)
    for place, row in enumerate(rows, 1):
        assert rows_from(path, Place(row.end, row.next_line), **options) == rows[place:], row
    return rows


def rows_from(path, place=BEGIN, **options):
    """Return the rows after a place."""
    with open_file(str(path), **options) as file:
        return list(file.rows(place))


@pytest.fixture
def read(tmp_path):
    """Return what reads bytes."""
    return lambda content, **options: rows_of(tmp_path / "file", content, **options)


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n",
        b"a;b\n1;2\n",
        b"a\tb\n1\t2\n",
        b"sep=;\na;b\n1;2\n",
        b"\xef\xbb\xbfa,b\r\n1,2\r\n",
        b"a,b\r1,2\r",
        b"a,b\n1,2",
        b'"a","b"\n"1","2"\n\n\n',
        b"sep=\t\na\tb\n1\t2\n",
        "a;b\r\n1;2\r\n".encode("utf-16"),
        "a,b\n1,2\n".encode("utf-32"),
        "\ufeffa,b\n1,2\n".encode("utf-32-be"),
        "a,b\n1,2\n".encode("utf-16-le"),
        "\ufeffa,b\n1,2\n".encode("utf-16-be"),
        packed(b"a,b\n1,2\n"),
        packed(b"a,b\n") + packed(b"1,2\n") + b"\0" * 100,
        b'{"a": "1", "b": "2"}\n',
        b'\xef\xbb\xbf\r\n{"a": "1", "b": "2"}\r\n\r\n',
        packed(b'{"a": "1", "b": "2"}'),
        b'{"line": 7, "cause": "?", "key": "k", "row": {"a": "1", "b": "2"}}\n',
        b'{"line": 7, "cause": "?", "key": "k", "columns": ["a", "b"], "cells": ["1", "2"]}\n',
        b'{"line": 7, "cause": "?", "key": "k", "columns": ["a", "b"], "delimiter": ";", "text": "1;\\"2\\"\\n"}\n',
        b'{"line": 7, "cause": "?", "key": "k", "text": "{\\"a\\": \\"1\\", \\"b\\": \\"2\\"}"}\n',
    ],
    ids=lambda content: repr(content[:40]),
)
def test_the_same_row_in_every_form(read, content):
    assert [row.values for row in read(content)] == [AB]


def test_records_of_several_lines_and_mixed_ends_keep_their_lines(read):
    rows = read(b'a,b\r\n"1\n2",x\r3,"y""z"\n\n4,\n')
    assert [(row.number, row.values) for row in rows] == [
        (2, {"a": "1\n2", "b": "x"}),
        (4, {"a": "3", "b": 'y"z'}),
        (6, {"a": "4", "b": ""}),
    ]


def test_a_formula_stays_text(read):
    assert read(b"a,b\n=1+1,@SUM(A1)\n")[0].values == {"a": "=1+1", "b": "@SUM(A1)"}


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b"1\n", "1 values for 2 columns"),
        (b"1,2,3\n", "3 values for 2 columns"),
        (b'"1"x,2\n', "quoting is wrong"),
        (b"\xe4,2\n", "not valid UTF-8, at byte 1"),
        (b"1\x00,2\n", "NUL"),
        (b"1," + b"x" * MAX_ROW_BYTES + b"\n", "longer than"),
        (b'"1,2\n', "quote is opened"),
    ],
    ids=["short", "long", "quoting", "encoding", "nul", "giant", "open quote"],
)
def test_a_bad_record_is_refused_by_itself(read, bad, problem):
    rows = read(b"a,b\n1,2\n" + bad + b"1,2\n")
    assert [row.values for row in rows] == [AB, None, AB]
    assert rows[1].number == 3
    assert problem in rows[1].problem


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b"{", "not valid JSON"),
        (b"[1]", "no object"),
        (b'{"a": 1, "a": 2}', "repeats a key"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a": 1e999}', "beyond double"),
        (b'{"a": 123456789012345678901}', "beyond 64 bits"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested"),
        (b'{"a": "\xe4"}', "not valid UTF-8"),
        (b'{"a": "' + b"x" * MAX_ROW_BYTES + b'"}', "longer than"),
        (b'{"line": 7, "cause": "?", "key": "k", "text": "1,2"}', "not mended"),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else value,
)
def test_a_bad_line_of_json_is_refused_by_itself(read, bad, problem):
    rows = read(b'{"a": "1", "b": "2"}\n' + bad + b'\n{"a": "1", "b": "2"}\n')
    assert [row.values for row in rows] == [AB, None, AB]
    assert problem in rows[1].problem


@pytest.mark.parametrize(
    ("content", "wrong", "right", "values"),
    [
        (b"a;b\n\xe4;2\n", "\\xe4", "1", AB),
        (b"a;b\n\xe4;" + b"2" * 5_000 + b"\n", "\\xe4", "1", {"a": "1", "b": "2" * 5_000}),
        (b"a\tb\n1\x00\t2\n", "\\x00", "", AB),
        (b'a,b\n"1,2\n', '"', "", AB),
        (b'a,b\n"1"x,2\n', "x", "", AB),
        (b'{"a": 1}\n{"a": "\xe4", "b": "2"}\n', "\\xe4", "1", AB),
        (b'{"a": 1}\n[2]\n', "[2]", '{"a": 2}', {"a": 2}),
    ],
    ids=["encoding", "long", "nul", "open quote", "quoting", "json", "no object"],
)
def test_a_line_that_could_not_be_read_is_whole_in_the_refused_file_and_imports_once_mended(
    read, content, wrong, right, values
):
    bad = read(content)[-1]
    line = {"line": bad.number, "cause": bad.problem, "key": "k", **bad.raw}
    (again,) = read(json.dumps(line).encode())
    assert (again.values, again.raw) == (None, bad.raw)
    line["text"] = line["text"].replace(wrong, right)
    (mended,) = read(json.dumps(line).encode())
    assert (mended.values, mended.key) == (values, "k")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1,2,3", "3 values for 2 columns"),
        ("1,2\n3,4", "2 rows"),
        ("", "0 rows"),
        ("1,\\xe4", "still has \\xe4"),
    ],
    ids=["ragged", "two rows", "empty", "broken byte"],
)
def test_what_is_mended_badly_is_refused_with_its_cause(read, text, problem):
    line = {"line": 2, "cause": "?", "key": "k", "columns": ["a", "b"], "text": text, "delimiter": ","}
    (row,) = read(json.dumps(line).encode())
    assert row.values is None
    assert problem in row.problem
    assert row.raw == {"columns": ["a", "b"], "text": text, "delimiter": ","}


def test_a_line_of_a_gigabyte_is_refused_without_being_read_into_memory(tmp_path):
    path = tmp_path / "giant.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n')
        file.seek(scaled(128, 1_024) * 1_000_000)  # a hole, which takes no room on the disk
        file.write(b'\n{"a": 2}\n')
    before = psutil.Process().memory_info().rss
    rows = rows_from(path)
    assert psutil.Process().memory_info().rss - before < 50_000_000
    assert [(row.number, row.values) for row in rows] == [(1, {"a": 1}), (2, None), (3, {"a": 2})]


@pytest.mark.parametrize("cut", [9, 5_000, 20_000])
def test_half_a_gzip_is_read_to_where_it_ends(tmp_path, cut):
    path = tmp_path / "half.gz"
    content = b"a,b\n" + b"".join(b"%d,2\n" % number for number in range(100_000))
    path.write_bytes(gzip.compress(content)[:-cut])
    rows = []
    with (
        open_file(str(path)) as file,
        pytest.raises(DamagedFile, match=r"ends early, after [\d,]+ bytes of it, at line"),
    ):
        rows.extend(file.rows(Place()))
    assert len(rows) > 50_000
    assert [row.values["a"] for row in rows] == [str(number) for number in range(len(rows))]


def test_a_corrupt_gzip_says_where(tmp_path):
    path = tmp_path / "corrupt.gz"
    packed = bytearray(gzip.compress(b"a,b\n" + b"".join(b"%d,2\n" % number for number in range(200_000))))
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)
    with pytest.raises(DamagedFile, match=r"corrupt at about byte|ends early"):
        rows_from(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1}]', "array of JSON"),
        (b"a,a\n1,2\n", "twice"),
        (b",\n1,2\n", "no column"),
        (b"x" * (MAX_ROW_BYTES + 1) + b"\n1\n", "header cannot be read: The line is longer"),
        (packed(b"x" * (3 * MAX_ROW_BYTES)), "header cannot be read: The line is longer"),
        (b"PAR1 and no more", "Parquet file cannot be read"),
        (b"PK\x03\x04 and more", "zip archive"),
        (b"\xd0\xcf\x11\xe0 and more", "workbook"),
        (b"BZh91AY&SY and more", "bzip2"),
        (b"\xfd7zXZ\x00 and more", "packed by xz"),
        (b"7z\xbc\xaf and more", "7-Zip"),
        (b"\x28\xb5\x2f\xfd and more", "Zstandard"),
        (b"ann@x.test,Ann\nbob@x.test,Bob\n", "an e-mail address among its columns"),
        (packed(packed(b"a,b\n1,2\n")), "packed twice"),
        (packed(b"PAR1 and more"), "gzip of Parquet"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_file_of_rows_is_refused(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=message):
        rows_from(path)


def test_an_encoding_can_be_named(read):
    assert read("ä,b\n1,2\n".encode("cp1252"), encoding="cp1252")[0].values == {"ä": "1", "b": "2"}


@pytest.mark.parametrize(
    "name", ["klingon", "base64", "rot13", "idna", "punycode", "undefined", "utf-8\0", "x" * 500]
)
def test_what_is_no_encoding_of_texts_is_refused(read, name):
    with pytest.raises(UnreadableFile, match="no encoding"):
        read(b"a\n", encoding=name)


@pytest.mark.parametrize("delimiter", [";;", "\n", "\r", '"', "\0"], ids=repr)
def test_what_is_no_delimiter_is_refused(read, delimiter):
    with pytest.raises(UnreadableFile, match="one character"):
        read(b"a,b\n", delimiter=delimiter)


@pytest.mark.parametrize(
    "content",
    [b"a,b\n1,2\n", packed(b"a,b\n1,2\n"), "a,b\n1,2\n".encode("utf-16"), b'{"a": "1", "b": "2"}\n'],
    ids=["csv", "gzip", "utf-16", "jsonl"],
)
def test_a_pipe_is_read_once(tmp_path, content):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[content])
    writer.start()
    with open_file(str(pipe)) as file:
        assert file.is_stream
        assert file.size is None
        assert [row.values for row in file.rows(BEGIN)] == [AB]
    writer.join()


def test_what_utf_16_cannot_hold_is_refused_by_itself(read):
    rows = read(
        "\ufeffa,b\n1,2\n".encode("utf-16-le") + b"\x00\xd8,\x002\x00\n\x00" + "1,2\n".encode("utf-16-le")
    )
    assert [row.values for row in rows] == [AB, None, AB]


def test_an_empty_file_has_no_rows(read):
    assert read(b"") == []
    assert read(b"a,b\n") == []


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n" + b"x" * (2 * MAX_ROW_BYTES),
        b'{"a": 1}\n' + b"x" * (2 * MAX_ROW_BYTES),
        b'{"a": 1}\n' + b"x" * (2 * MAX_ROW_BYTES) + b"\r",
    ],
    ids=["csv", "jsonl", "cr"],
)
def test_a_last_line_that_is_too_long_is_refused_once(read, content):
    for data in (content, packed(content)):
        rows = read(data)
        assert [row.values is None for row in rows] == [False, True]
