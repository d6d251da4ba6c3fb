"""The paper's tables, run and printed beside its numbers: `reproduce`."""

from kmrcnn.reproduce.report import format_results
from kmrcnn.reproduce.reproduce import reproduce
from kmrcnn.reproduce.tables import list_tables, load_table

__all__ = ["format_results", "list_tables", "load_table", "reproduce"]
