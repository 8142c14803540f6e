"""What is written is read back as it was, in every form."""

import os
import threading

import pytest

from config.files.reading import open_file
from config.files.rows import Place
from config.files.writing import form_of, write_rows

TEXTS = [
    *(" ", "  lead", "trail ", "\n", "\r", "\r\n", "a\rb", "a\nb", "a\n\rb", '"', '""', "'", ",", ";", "\t", "|"),
    *("\\", "\\N", "null", "true", "1", "1.0", "007", "=1+1", "+1", "@x", "sep=;", "{}", "[1]", '{"a": 1}'),
    *("\ufeffx", "\u2028", "\u202e", "\x85", "\x0b", "\x0c", "\x1c", "\x01", "\x7f", "\U0001f600", "\x1f\x8b"),
    "x" * 5_000,
]  # fmt: skip


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_odd_texts_come_back_as_they_were(tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = str(tmp_path / name)
    rows = [{"id": str(place), "text": text, "last": text} for place, text in enumerate(TEXTS)]
    assert write_rows(path, form_of(path), ["id", "text", "last"], rows) == len(rows)
    with open_file(path) as file:
        assert [row.values for row in file.rows(Place())] == rows


def test_two_that_write_the_same_file_do_not_mix(tmp_path):
    path = str(tmp_path / "a.csv")

    def rows():
        yield {"a": "1"}
        write_rows(path, "csv", ["a"], [{"a": "other"}] * 3)
        yield {"a": "2"}

    write_rows(path, "csv", ["a"], rows())
    assert (tmp_path / "a.csv").read_bytes() == b"a\r\n1\r\n2\r\n"
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o600


def test_one_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "a.csv").write_text("before")

    def rows():
        yield {"a": "1"}
        raise OSError

    with pytest.raises(OSError):
        write_rows(str(tmp_path / "a.csv"), "csv", ["a"], rows())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.csv", "before")]


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_rows(str(pipe), "csv", ["a"], [{"a": "1"}])
    reader.join()
    assert found == [b"a\r\n1\r\n"]
    assert pipe.is_fifo()
