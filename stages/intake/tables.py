"""Tables as documents, one a row: CSV and TSV, Parquet, Arrow."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from pipeline.locations.location import InputFile, reason_of
from pipeline.stage import DOCUMENT_SCHEMA, PAYLOAD, Context, Outcome, Removal, Source, Split
from stages.intake.batches import batched
from stages.intake.columns import ColumnsConfig, Row
from stages.intake.content import SUFFIXES as PACKED
from stages.intake.content import Content, Encoding, content_of
from stages.intake.files import one_split_per_file

SUFFIXES = (
    *(f".{name}{packed}" for name in ("csv", "tsv", "tab", "arrow", "arrows") for packed in PACKED),
    ".parquet",
    ".feather",
    ".ipc",
)
PARQUET_MAGIC = b"PAR1"
ARROW_FILE_MAGIC = b"ARROW1\0\0"
ARROW_FILE_END = b"ARROW1"
ARROW_STREAM_MAGIC = b"\xff\xff\xff\xff"
FOREIGN = {b"PK\x03\x04": "a zip archive (as .xlsx files are)", b"FEA1": "Feather of the first version"}
"""They would pass for CSV without a row."""
BATCH_ROWS = 500
ARROW_ERRORS = (pa.ArrowException, ValueError, OverflowError, MemoryError)
"""What Arrow raises at damaged files: MemoryError where a size is damaged."""
PARQUET_READ_BYTES = 1 << 20  # of each column at a time, so that memory does not grow with the row group
ColumnType = Literal["bool", "int64", "float64", "list<float32>"]
ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "list<float32>": pa.list_(pa.float32()),
}


class TablesConfig(ColumnsConfig):
    """Options of ``tables``."""

    delimiter: str | None = Field(None, min_length=1, max_length=1)
    """Character between the cells of CSV; if absent, a tab in files called .tsv or .tab and a comma in others."""

    quotes: bool = True
    """Cells of CSV may stand in double quotes, doubled inside (RFC 4180). False: a quote is a character."""

    header: bool = True
    """The first row of CSV names the columns. False: they are called "0", "1" and so on."""

    encoding: Encoding = "utf-8"
    """Encoding of CSV."""

    max_cell_characters: int = Field(16_000_000, gt=0)
    """A row of CSV with a longer cell fails; so does all that is left of a file at a line of more than twice that."""

    carry: dict[str, ColumnType] = Field({})
    """Columns of Parquet and Arrow files to keep as columns of the documents, and their types there:
    {embedding: list<float32>, score: float64}. Other types are cast where that loses nothing but digits of a float."""

    @model_validator(mode="after")
    def _carried_columns_have_names_of_their_own(self) -> Self:
        for name in self.carry:
            if name in DOCUMENT_SCHEMA.names or name == PAYLOAD.name or name.startswith("_"):
                raise ValueError(f"carry: '{name}' cannot be the name of a column that documents have beside their own")
            if name in (*self.columns.text, *self.columns.fields.values()):
                raise ValueError(f"carry: '{name}' is in 'columns' too; it can be one only")
            if isinstance(self.meta, tuple) and name in self.meta:
                raise ValueError(f"carry: '{name}' is in 'meta' too; it can be one only")
        return self

    @model_validator(mode="after")
    def _delimiter_can_be_told(self) -> Self:
        if self.delimiter in ('"', "\r", "\n"):
            raise ValueError("the delimiter cannot be a quote or the end of a line")
        return self


class BadTableError(Exception):
    """The rest of a file cannot be read: the ledger's reason and the evidence."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(evidence)
        self.reason, self.evidence = reason, evidence


@dataclass(frozen=True, slots=True)
class BadRow:
    """Why a row has no cells."""

    reason: str
    evidence: str


class Tables(Source[TablesConfig]):
    """Read CSV and TSV (plain, gzip, zstd, xz, bzip2), Parquet, and Arrow files and streams.

    The kind is told by a file's first bytes. A document's id is the file and the number of its row, from 0 and
    without the header; its origin's offset is that number. A file is read by one task.
    """

    name = "tables"
    config_type = TablesConfig

    def __init__(self, config: TablesConfig) -> None:
        super().__init__(config)
        self._carried = [pa.field(name, ARROW_TYPES[kind]) for name, kind in config.carry.items()]
        self.provides = ("text", *config.carry)

    def splits(self) -> list[Split]:
        return one_split_per_file(self.config.matching_files(SUFFIXES))

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        rows = (row for file in split.files for row in self._documents(file, source, context))
        return batched(source, rows, self._carried)

    def _documents(self, file: InputFile, source: str, context: Context) -> Iterator[Row | Removal]:
        number = 0
        try:
            for cells in self._rows(file, context):
                yield self._document(cells, file.name, number, source)
                number += 1
        except BadTableError as error:
            evidence = f"{file.name}: row {number}: {error.evidence}"
            yield Removal(f"{source}/{file.name}@{number}", source, "failed", error.reason, evidence)
        except OSError as error:
            evidence = f"{file.name}: row {number}: {error.strerror or error}"
            yield Removal(f"{source}/{file.name}@{number}", source, "failed", reason_of(error), evidence)

    def _document(self, cells: Row | BadRow, name: str, number: int, source: str) -> Row | Removal:
        identity, where = f"{source}/{name}@{number}", f"{name}: row {number}"
        if isinstance(cells, BadRow):
            return Removal(identity, source, "failed", cells.reason, f"{where}: {cells.evidence}")
        carried = {column.name: cells.pop(column.name) for column in self._carried}
        row = {"id": identity, "source": source, "origin": {"path": name, "offset": number}}
        document = self.config.document(row, cells, where)
        return document if isinstance(document, Removal) else document | carried

    def _rows(self, file: InputFile, context: Context) -> Iterator[Row | BadRow]:
        """The cells of each row by column name, or why they cannot be told; of carried columns, arrays of length 1.

        Raises:
            BadTableError, OSError: the file cannot be read any further.
        """
        with content_of(self.config.opened(file.location, context)) as content:
            start = content.peek()[: len(ARROW_FILE_MAGIC)]
            if start.startswith(PARQUET_MAGIC):
                if not content.seekable():
                    raise BadTableError("compressed_parquet", "a Parquet file inside another compression: unpack it")
                yield from self._parquet_rows(content)
            elif start == ARROW_FILE_MAGIC:
                # a file is a stream between its magic number and a footer: read so, a cut file keeps what it has
                content.read(len(ARROW_FILE_MAGIC))
                yield from self._arrow_rows(content)
                if not content.read().endswith(ARROW_FILE_END):
                    raise BadTableError("unreadable", "the file ends too early")
            elif start.startswith(ARROW_STREAM_MAGIC):
                yield from self._arrow_rows(content)
            elif foreign := next((kind for magic, kind in FOREIGN.items() if start.startswith(magic)), None):
                raise BadTableError("unreadable", f"{foreign}, not a table of a kind that is read here")
            elif self._carried:
                raise BadTableError("no_types", "CSV has no types, so 'carry' cannot take columns from it")
            else:
                tab = file.name.removesuffix(_packing(file.name)).endswith((".tsv", ".tab"))
                yield from self._csv_rows(content, self.config.delimiter or ("\t" if tab else ","))

    def _parquet_rows(self, content: Content) -> Iterator[Row | BadRow]:
        import pyarrow.parquet as pq

        try:
            # through Python's reader of this file, wherever it lies; column by column in pieces of a row group
            parquet = pq.ParquetFile(
                pa.PythonFile(content, "r"),
                buffer_size=PARQUET_READ_BYTES,
                pre_buffer=False,
                page_checksum_verification=True,
            )
            columns = self._columns_to_read(parquet.schema_arrow)
            for batch in parquet.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
                yield from self._typed_rows(batch)
        except ARROW_ERRORS as error:
            raise BadTableError("unreadable", _first_line(error)) from error

    def _arrow_rows(self, content: Content) -> Iterator[Row | BadRow]:
        try:
            with pa.ipc.open_stream(pa.PythonFile(content, "r")) as stream:
                columns = self._columns_to_read(stream.schema)
                tops = {*columns, *(column.split(".")[0] for column in columns)}
                places = [place for place, name in enumerate(stream.schema.names) if name in tops]
                for batch in stream:
                    used = batch.select(places)
                    used.validate(full=True)  # else damage could make Arrow read outside the batch
                    for start in range(0, len(batch), BATCH_ROWS):
                        yield from self._typed_rows(used.slice(start, BATCH_ROWS))
        except ARROW_ERRORS as error:
            raise BadTableError("unreadable", _first_line(error)) from error

    def _typed_rows(self, batch: pa.RecordBatch) -> Iterator[Row | BadRow]:
        try:
            carried = {column.name: _cast(batch.column(column.name), column) for column in self._carried}
        except BadTableError:
            if len(batch) == 1:
                raise
            for place in range(len(batch)):  # up to the row that does not fit
                yield from self._typed_rows(batch.slice(place, 1))
            return
        for place, cells in enumerate(_rows_of(batch.drop_columns(list(carried)))):
            if not isinstance(cells, BadRow):
                # as slices: a list of 1000 numbers through Python costs 60 µs a row, a slice 1
                cells |= {name: values.slice(place, 1) for name, values in carried.items()}
            yield cells

    def _columns_to_read(self, schema: pa.Schema) -> list[str]:
        """Names of the columns whose values are used; dots lead into structs.

        Raises:
            BadTableError: none of the fields with text is there, or a column to carry is not.
        """
        for name in self.config.carry:
            if (count := schema.names.count(name)) != 1:
                found = ", ".join(schema.names)
                how_many = "more than one" if count else "no"
                raise BadTableError("no_column", f"{how_many} column '{name}', to be carried; there are: {found}")
        there = set(_paths(schema))
        texts = there.intersection(self.config.columns.text)
        if not texts:
            wanted = " or ".join(map(repr, self.config.columns.text))
            found = ", ".join(schema.names)
            raise BadTableError("no_text_field", f"no column {wanted}; there are: {found}")
        wanted_here = texts | there.intersection(self.config.columns.fields.values())
        if self.config.meta == "all":
            wanted_here |= {field.name for field in schema if not pa.types.is_nested(field.type)}
        elif self.config.meta != "none":
            wanted_here |= there.intersection(self.config.meta)
        return sorted(wanted_here.union(self.config.carry))

    def _csv_rows(self, content: Content, delimiter: str) -> Iterator[Row | BadRow]:
        encoding = "utf-8-sig" if codecs.lookup(self.config.encoding).name == "utf-8" else self.config.encoding
        csv.field_size_limit(self.config.max_cell_characters)
        # bytes that are no text become lone surrogates, so that they cost their row and not the file
        with io.TextIOWrapper(content, encoding, errors="surrogateescape", newline="") as text:
            rows = csv.reader(
                _lines(text, self.config.max_cell_characters),
                delimiter=delimiter,
                quoting=csv.QUOTE_MINIMAL if self.config.quotes else csv.QUOTE_NONE,
                strict=True,
            )
            names: list[str] | None = None
            while True:
                try:
                    cells = next(rows)
                except StopIteration:
                    return
                except csv.Error as error:
                    if names is None and self.config.header:
                        raise BadTableError("bad_header", f"line {rows.line_num}: {error}") from error
                    yield BadRow("bad_csv", f"line {rows.line_num}: {error}")  # the reader goes on with the next line
                    continue
                except UnicodeError as error:
                    raise BadTableError("bad_encoding", f"not {encoding}: {error}") from error
                if not cells:
                    continue  # an empty line
                if names is None:
                    if self.config.header and not all(_is_text(cell) and "\0" not in cell for cell in cells):
                        raise BadTableError(
                            "bad_header",
                            f"its first line is no text in {encoding}: is this CSV, and the encoding right?",
                        )
                    names = _names(cells) if self.config.header else [str(place) for place in range(len(cells))]
                    if self.config.header:
                        continue
                yield _cells_by_name(names, cells)


def _cast(values: pa.Array, column: pa.Field) -> pa.Array:
    """
    Raises:
        BadTableError: a value does not fit into the type of the column.
    """
    try:
        return values.cast(column.type)
    except pa.ArrowException as error:
        evidence = f"the column '{column.name}' is {values.type}, not {column.type}: {_first_line(error)}"
        raise BadTableError("column_type", evidence) from error


def _rows_of(batch: pa.RecordBatch) -> Iterator[Row | BadRow]:
    for place, column in enumerate(batch.schema.names):
        if pa.types.is_timestamp(batch.column(place).type):
            # as text, because Python has neither nanoseconds nor the year 10000
            text = pc.replace_substring(batch.column(place).cast(pa.string()), " ", "T", max_replacements=1)
            batch = batch.set_column(place, column, text)
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):  # a value that Python cannot hold, or bytes that are no UTF-8
        for place in range(len(batch)):
            try:
                yield from batch.slice(place, 1).to_pylist()
            except (ValueError, OverflowError) as error:
                yield BadRow("bad_value", str(error))


def _cells_by_name(names: list[str], cells: list[str]) -> Row | BadRow:
    if len(cells) != len(names):
        return BadRow("cell_count", f"{len(cells)} cells, not {len(names)}")
    if not all(map(_is_text, cells)):
        return BadRow("bad_encoding", "bytes that are no text in this encoding")
    return {name: cell for name, cell in zip(names, cells, strict=True) if name}


def _is_text(cell: str) -> bool:
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


def _names(header: list[str]) -> list[str]:
    """The names of the columns; those without a name are not read.

    Raises:
        BadTableError: a name stands there twice.
    """
    named = [name for name in header if name]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise BadTableError("bad_header", f"columns of one name: {', '.join(twice)}")
    return header


def _lines(text: io.TextIOWrapper, max_characters: int) -> Iterator[str]:
    # twice the cap, so that a cell at the cap in quotes, every one doubled, still fits
    limit = 2 * max_characters + 2
    while line := text.readline(limit + 1):
        if len(line) > limit:
            raise BadTableError("too_large", f"a line of more than {limit} characters: is this CSV?")
        yield line


def _paths(fields: Iterable[pa.Field], before: str = "") -> Iterator[str]:
    """Names of columns and, behind dots, of fields of structs."""
    for field in fields:
        yield before + field.name
        if pa.types.is_struct(field.type):
            yield from _paths(field.type.fields, f"{before}{field.name}.")


def _packing(name: str) -> str:
    return next((suffix for suffix in PACKED if suffix and name.endswith(suffix)), "")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
