"""Parquet takes little memory, whatever a file of few bytes spells."""

import pytest

from config.files import parquet_limits
from config.files.errors import UnreadableFile
from config.files.mapping import ColumnMapping
from config.files.reading import open_file
from config.files.rows import MAX_ROW_BYTES, Place
from contacts.imports.contacts import ContactImport
from contacts.imports.read_ahead import ReadAhead

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
ROWS = 80
LONG = "a" * (MAX_ROW_BYTES - 1_000)


@pytest.fixture
def read(tmp_path):
    """Write a column, and return the rows and how much Arrow took for them."""

    def write_and_read(column, **options):
        path = tmp_path / "file.parquet"
        parquet.write_table(arrow.table({"a": column}), path, **options)
        arrow.default_memory_pool().release_unused()
        before, most, rows = arrow.total_allocated_bytes(), 0, []
        with open_file(str(path)) as file:
            for row in file.rows(Place()):
                most = max(most, arrow.total_allocated_bytes() - before)
                rows.append((row.number, row.problem, row.size))
        return rows, most

    return write_and_read


def by_dictionary(*texts, count=ROWS):
    turns = arrow.array([place % len(texts) for place in range(count)], arrow.int32())
    return arrow.DictionaryArray.from_arrays(turns, arrow.array(texts))


def in_lists(values, each=1):
    return arrow.ListArray.from_arrays(arrow.array(range(0, len(values) + 1, each), arrow.int32()), values)


@pytest.mark.parametrize(
    ("column", "options"),
    [
        (lambda: by_dictionary(LONG), {}),
        (lambda: in_lists(by_dictionary(LONG)), {}),
        (lambda: arrow.StructArray.from_arrays([by_dictionary(LONG)], ["b"]), {}),
        (lambda: arrow.array([LONG.encode()] * ROWS, arrow.binary(len(LONG))), {}),
        (
            lambda: arrow.array([LONG] * ROWS),
            {"use_dictionary": False, "column_encoding": {"a": "DELTA_BYTE_ARRAY"}},
        ),
    ],
    ids=["dictionary", "in lists", "in objects", "fixed", "prefixes"],
)
def test_long_values_that_take_no_room_in_the_file(read, column, options):
    rows, most = read(column(), **options)
    assert [problem for _, problem, _ in rows] == [""] * ROWS
    assert {size for *_, size in rows} == {len(LONG)}
    # A dictionary, what of the rows is decoded, and what the next of them takes: not all of 80 MB.
    assert most < 60_000_000


def test_a_dictionary_that_is_not_of_all_values_does_not_grow(read):
    count = 40_000
    rows, most = read(arrow.array([f"{place:0200}" for place in range(count)]), data_page_size=100_000)
    assert len(rows) == count
    assert most < 5_000_000


def test_the_longest_of_such_a_dictionary_counts(read):
    texts = [None, *[LONG] * ROWS, *map(str, range(3_000))]
    rows, most = read(
        arrow.array(texts), dictionary_pagesize_limit=1_000, data_page_size=1_000, write_batch_size=1
    )
    assert len(rows) == len(texts)
    assert most < 60_000_000


def test_lists_are_measured_with_all_that_is_in_them(read):
    lists = in_lists(by_dictionary("b" * 1_000, count=2_000), each=20)
    assert {size for *_, size in read(lists)[0]} == {20_000}
    numbers = arrow.array([[1, 2], None, [], [3]])
    assert [size for *_, size in read(numbers)[0]] == [16, 0, 0, 8]
    pairs = arrow.array([[("k", ["ab", "c"])]], arrow.map_(arrow.string(), arrow.list_(arrow.string())))
    assert [size for *_, size in read(pairs)[0]] == [4]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (lambda: arrow.array(["a", "b" * 2_000_000]), "pages"),
        (
            lambda: in_lists(arrow.array([0]).take(arrow.array(bytes(400_000), arrow.uint8())), 100_000),
            "lists",
        ),
        (
            lambda: in_lists(arrow.array([0]).take(arrow.array(bytes(300_000), arrow.uint8())), 300_000),
            "rows",
        ),
    ],
    ids=["pages", "lists", "rows"],
)
def test_what_would_take_too_much_is_refused_with_its_place(read, column, kind, monkeypatch):
    for name, most in (("_PAGE_BYTES", 1_900_000), ("_LIST_BYTES", 4_000_000), ("_DECODED_BYTES", 2_500_000)):
        monkeypatch.setattr(parquet_limits, name, most)
    with pytest.raises(UnreadableFile, match=f"From row 1 on the file has {kind} of some"):
        read(column())


def test_batches_of_long_rows_are_small(tmp_path):
    path = tmp_path / "file.parquet"
    table = {"email": [f"p{place}@x.test" for place in range(40)], "a": [LONG] * 40}
    parquet.write_table(arrow.table(table), path)
    kind = ContactImport()
    with open_file(str(path)) as file:
        batches = ReadAhead(
            file, Place(), kind, ColumnMapping(kind.fields), key_prefix="k:", batch_rows=2_000
        )
        counts = [len(batch.rows) for batch in batches]
        batches.stop()
    assert (sum(counts), max(counts)) == (40, 5)
