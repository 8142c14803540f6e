"""Files are named after their objects, and a folder is read and written with care for what else is in it."""

import os
import re

import pytest

from campaigns.configuration.folders import MAX_FILE_BYTES, file_names, read_folder, write_folder
from campaigns.errors import InvalidConfiguration

KINDS = ["segments", "templates"]
KEYS = dict.fromkeys(KINDS, "name")


def test_a_plain_name_is_the_name_of_its_file():
    assert file_names(["Buyers", "Who buys, often"]) == {
        "Buyers": "buyers.yaml",
        "Who buys, often": "who-buys-often.yaml",
    }


def test_odd_names_have_files_of_their_own():
    names = [
        "a/b", "a b", "A B", "../../etc/passwd", "..", ".", ".hidden", "客户", "顧客", "con", "NUL", "x" * 255,
        "x" * 254, "a\\b", "a:b", "a\nb", "-", " ", "a-b", "é", "e",
    ]  # fmt: skip
    files = file_names(names)
    assert len({file.lower() for file in files.values()}) == len(names)
    for file in files.values():
        assert re.fullmatch(r"[a-z0-9_-]{1,95}\.yaml", file)
        assert file not in ("con.yaml", "nul.yaml")


def test_the_file_of_a_name_depends_on_nothing_but_names_like_it():
    alone, among = file_names(["a/b"]), file_names(["c", "a/b"])
    assert alone["a/b"] == among["a/b"] == "ab.yaml"
    assert file_names(["a/b", "ab"]) != {"a/b": "ab.yaml", "ab": "ab.yaml"}


def test_what_is_written_is_read_in_the_order_of_paths(tmp_path):
    write_folder(tmp_path, {"segments/b.yaml": "name: B\n", "segments/a.yaml": "name: A\n"}, KEYS)
    documents = read_folder(tmp_path, KINDS)
    assert [(item.path, dict(item.value)) for item in documents["segments"]] == [
        ("segments/a.yaml", {"name": "A"}),
        ("segments/b.yaml", {"name": "B"}),
    ]
    assert set(documents) == {"segments"}


def test_writing_removes_files_of_objects_that_are_gone_and_nothing_else(tmp_path):
    write_folder(tmp_path, {"segments/old.yaml": "name: Old\n", "templates/t.yaml": "name: T\n"}, KEYS)
    kept = {
        "segments/README.md": "a",
        "segments/chart.yaml": "kind: Deployment\n",
        "other/x.yaml": "name: X\n",
    }
    kept |= {"segments/broken.yaml": "{{ helm"}
    (tmp_path / "other").mkdir()
    for path, text in kept.items():
        (tmp_path / path).write_text(text)
    removed = write_folder(tmp_path, {"segments/new.yaml": "name: New\n"}, KEYS)
    assert removed == 2
    found = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert found == {*kept, "segments/new.yaml"}


def test_every_file_that_cannot_be_read_is_named(tmp_path):
    write_folder(tmp_path, {"segments/a.yaml": "a: [", "segments/b.yaml": "- 1", "segments/c.yml": ""}, KEYS)
    with pytest.raises(InvalidConfiguration) as refused:
        read_folder(tmp_path, KINDS)
    assert [fault.file for fault in refused.value.faults] == [
        "segments/a.yaml",
        "segments/b.yaml",
        "segments/c.yml",
    ]


def _long(file, outside):
    file.write_bytes(b"name: a\nbody: " + b"x" * MAX_FILE_BYTES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file, outside: file.symlink_to(outside), "no file of this folder"),
        (lambda file, outside: os.mkfifo(file), "no file of this folder"),
        (lambda file, outside: file.symlink_to("/dev/zero"), "no file of this folder"),
        (lambda file, outside: file.mkdir(), "no file of this folder"),
        (lambda file, outside: file.symlink_to(file), "cannot be read"),
        (lambda file, outside: file.symlink_to(outside.with_name("nowhere")), "cannot be read"),
        (_long, "more than"),
    ],
    ids=["link out", "pipe", "device", "folder", "link to itself", "dangling link", "long"],
)
def test_only_files_of_the_folder_are_read(tmp_path, make, message):
    folder, outside = tmp_path / "folder", tmp_path / "outside.yaml"
    outside.write_text("name: Outside")
    write_folder(folder, {"segments/a.yaml": "name: A\n"}, KEYS)
    make(folder / "segments" / "b.yaml", outside)
    with pytest.raises(InvalidConfiguration, match=message) as refused:
        read_folder(folder, KINDS)
    assert [fault.file for fault in refused.value.faults] == ["segments/b.yaml"]


def test_a_link_inside_is_read_and_one_that_is_written_over_is_replaced(tmp_path):
    folder, outside = tmp_path / "folder", tmp_path / "outside.yaml"
    outside.write_text("name: Outside")
    write_folder(folder, {"segments/a.yaml": "name: A\n"}, KEYS)
    (folder / "templates").mkdir()
    (folder / "templates" / "a.yaml").symlink_to(folder / "segments" / "a.yaml")
    assert [document.value for document in read_folder(folder, ["templates"])["templates"]] == [{"name": "A"}]
    (folder / "segments" / "b.yaml").symlink_to(outside)
    write_folder(folder, {"segments/a.yaml": "name: A\n", "segments/b.yaml": "name: B\n"}, KEYS)
    assert outside.read_text() == "name: Outside"
    assert [document.value["name"] for document in read_folder(folder, ["segments"])["segments"]] == [
        "A",
        "B",
    ]


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(InvalidConfiguration, match="none of the sub-folders"):
        read_folder(tmp_path, KINDS)
