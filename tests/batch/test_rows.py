"""Reading rows: formats, ids, and rows that cannot be read."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from acytoo import UsageError
from acytoo.batch.rows import Row, read_rows


def rows(path: Path, data: bytes, format: str = "") -> list[Row]:
    path.write_bytes(data)
    with closing(read_rows(str(path), format)) as found:
        return list(found)


def errors(found: list[Row]) -> list[str]:
    return [str(row.error) for row in found if row.error is not None]


def test_the_rows_of_jsonl_are_its_lines(tmp_path: Path) -> None:
    found = rows(tmp_path / "a.jsonl", b'{"prompt": "a"}\n{"prompt": "b", "id": "x"}\n"c"')
    assert found == [Row(1, 1, {"prompt": "a"}), Row(2, "x", {"prompt": "b", "id": "x"}), Row(3, 3, {"prompt": "c"})]


def test_empty_lines_and_a_byte_order_mark_are_skipped(tmp_path: Path) -> None:
    found = rows(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"prompt": "a"}\r\n\n  \n{"prompt": "b"}\n')
    assert [(row.number, row.fields["prompt"]) for row in found] == [(1, "a"), (4, "b")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "row 2: not JSON: "),
        (b"\xff", "row 2: not JSON: "),
        (b"[" * 100_000, "row 2: not JSON: "),
        (b"[1]", "row 2: expected an object"),
        (b'{"id": 1.5}', "row 2: its id must be text or a whole number, not float"),
        (b'{"id": true}', "row 2: its id must be text or a whole number, not bool"),
        (b'{"custom_id": []}', "row 2: its custom_id must be text or a whole number, not list"),
    ],
)
def test_a_line_that_cannot_be_read_is_an_error_and_the_others_go_on(tmp_path: Path, line: bytes, problem: str) -> None:
    found = rows(tmp_path / "a.jsonl", b'{"prompt": "a"}\n' + line + b'\n{"prompt": "b"}\n')
    assert [row.error is None for row in found] == [True, False, True]
    assert str(found[1].error).startswith(problem)


def test_a_repeated_id_is_an_error_of_the_later_row(tmp_path: Path) -> None:
    found = rows(tmp_path / "a.jsonl", b'{"id": "x"}\n{"id": "x"}\n{"id": 4}\n{}\n{"id": "4"}\n')
    assert errors(found) == [
        "row 2: the id 'x' is that of an earlier row: ids must be unique",
        "row 4: the id 4 is that of an earlier row: ids must be unique",
    ]


def test_the_rows_of_csv_have_the_columns_of_its_header(tmp_path: Path) -> None:
    found = rows(tmp_path / "a.csv", b'\xef\xbb\xbfid,text\nx,"two\nlines, ""quoted"""\n\ny,b\n')
    assert found == [Row(1, "x", {"id": "x", "text": 'two\nlines, "quoted"'}), Row(2, "y", {"id": "y", "text": "b"})]


def test_tabs_separate_the_columns_of_tsv(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.tsv", b"text\tlabel\na,b\tc\n") == [Row(1, 1, {"text": "a,b", "label": "c"})]


def test_bad_records_of_csv_are_errors_with_their_line(tmp_path: Path) -> None:
    found = rows(tmp_path / "a.csv", b'text,label\na,b\nc\n"d"e,f\n\xff,g\nh,i\n')
    assert errors(found) == [
        "row 2: line 3 has 1 columns, the header has 2",
        "row 3: line 4: ',' expected after '\"'",
        "row 4: line 5 is not UTF-8",
    ]
    assert [row.fields["text"] for row in found if row.error is None] == ["a", "h"]


def test_a_format_that_is_not_known_and_a_missing_file_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.jsonl\.gz is compressed: pipe what it contains"):
        read_rows("a.jsonl.gz")
    with pytest.raises(UsageError, match=r"cannot read .*: it is a folder"):
        read_rows(str(tmp_path))
    with pytest.raises(UsageError, match=r"unknown format of .*a\.xml: expected one of .*--input-format"):
        read_rows(str(tmp_path / "a.xml"))
    with pytest.raises(UsageError, match=r"cannot read .*: No such file"):
        read_rows(str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_refused_with_how_to_convert_it(name: str, codec: str, tmp_path: Path) -> None:
    """Excel and PowerShell write such files."""
    path = tmp_path / name
    path.write_bytes("\ufeff{}\n".encode(codec))
    with pytest.raises(UsageError, match=r"is UTF-16: convert it to UTF-8, such as with iconv -f UTF-16 -t UTF-8$"):
        read_rows(str(path))


def test_the_format_can_be_given(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.txt", b'{"prompt": "a"}', "jsonl")[0].fields == {"prompt": "a"}


def test_the_rows_of_parquet_are_its_records(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'acytoo[parquet]'")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"id": ["x", "y"], "text": ["a", None], "count": [1, 2]}), path)
    with closing(read_rows(str(path))) as found:
        assert list(found) == [
            Row(1, "x", {"id": "x", "text": "a", "count": 1}),
            Row(2, "y", {"id": "y", "text": None, "count": 2}),
        ]
    with pytest.raises(UsageError, match="no column 'title': the input has id, text, count"):
        read_rows(str(path), columns=["title", "text"])
    path.write_bytes(b"not parquet")
    with pytest.raises(UsageError, match="cannot read the Parquet file: "):
        read_rows(str(path))


def test_a_column_that_no_row_has_is_a_usage_error_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,b\n")
    with pytest.raises(UsageError, match="no column 'title': the input has text, label"):
        read_rows(str(path), columns=["title"])
    path.write_text("")
    with pytest.raises(UsageError, match="no column 'title': the input has no columns"):
        read_rows(str(path), columns=["title"])
