"""Parquet files: their footers and their rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from pyarrow.parquet import ParquetFile

from dar.errors import DARError, quoted


@dataclass(frozen=True)
class Footer:
    """Footer of a Parquet file.

    Attributes:
        path: the file.
        rows: how many it has.
        features: its columns, as ``datasets`` understands them.
    """

    path: Path
    rows: int
    features: Any


def read_footer(path: Path) -> Footer:
    """Read the footer of a file.

    Raises:
        DARError: if it is no Parquet file, or damaged.
    """
    try:
        with ParquetFile(path) as file:
            return Footer(path, file.metadata.num_rows, datasets.Features.from_arrow_schema(_plain(file.schema_arrow)))
    except (pa.ArrowException, OSError, TypeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise DARError(
            f"{path} cannot be read as a Parquet file ({quoted(error)}): it may be truncated, so get it again"
        ) from error


def _plain(schema: pa.Schema) -> pa.Schema:
    """Give the schema with plain types in place of dictionary-encoded columns."""
    for i, column in enumerate(schema):
        if pa.types.is_dictionary(column.type):
            schema = schema.set(i, column.with_type(column.type.value_type))
    return schema


@dataclass
class ParquetRowsConfig(datasets.BuilderConfig):  # type: ignore[misc]  # datasets is untyped
    """Files and columns to read.

    Attributes:
        files: paths; each is taken as it is, whatever characters it has.
        features: the columns to read.
    """

    files: Sequence[str] = ()
    features: Any = field(default=None)


class ParquetRows(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """Some columns of Parquet files.

    ``datasets`` has a builder too, but takes paths for patterns, and sleeps at the end of each pass for the sake of
    threads that a plain reader doesn't start.
    """

    BUILDER_CONFIG_CLASS = ParquetRowsConfig

    def _info(self) -> Any:
        return datasets.DatasetInfo(features=self.config.features)

    def _split_generators(self, dl_manager: Any) -> list[Any]:
        return [datasets.SplitGenerator(name="train", gen_kwargs={"files": list(self.config.files)})]

    def _generate_tables(self, files: list[str]) -> Iterator[tuple[str, pa.Table]]:
        schema = self.config.features.arrow_schema
        for number, path in enumerate(files):
            try:
                with ParquetFile(path) as file:
                    size = file.metadata.row_group(0).num_rows if file.num_row_groups else 1
                    batches = file.iter_batches(batch_size=max(1, size), columns=schema.names, use_threads=False)
                    for i, batch in enumerate(batches):
                        table = pa.Table.from_batches([batch])
                        yield f"{number}_{i}", datasets.table.table_cast(_without_lists_of_values(table), schema)
            except (pa.ArrowException, OSError) as error:
                raise DARError(
                    f"{path} cannot be read to its end ({quoted(error)}): it may be truncated, so get it again"
                ) from error


def _without_lists_of_values(table: pa.Table) -> pa.Table:
    for i, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            table = table.set_column(i, column.name, table.column(i).cast(column.type.value_type))
    return table
