"""Rows that an earlier version of harness wrote, in the columns of today."""

from __future__ import annotations

import pyarrow as pa

from harness.store.schemas import LEDGERS

ADDED: dict[str, frozenset[str]] = {
    "nights": frozenset({"host", "reference"}),
    "alerts": frozenset({"rerun_session_ids", "rerun_decision", "rerun_confidence", "rerun_rounds"}),
}
"""Columns that ledgers of earlier versions may lack."""


def in_todays_columns(ledger: str, rows: pa.Table) -> pa.Table:
    """The rows of a ledger with the columns that it has today. One that was added since is null, except that the one
    session of a rerun is now a list, for a rerun may have several. Raises KeyError for a column that was always there.
    """
    schema = LEDGERS[ledger]
    for name in ADDED[ledger] - set(rows.column_names):
        values = pa.nulls(rows.num_rows, schema.field(name).type)
        if name == "rerun_session_ids" and "rerun_session_id" in rows.column_names:
            listed = [None if value is None else [value] for value in rows["rerun_session_id"].to_pylist()]
            values = pa.array(listed, schema.field(name).type)
        rows = rows.append_column(schema.field(name), values)
    return rows.select(schema.names)
