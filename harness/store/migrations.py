"""Rows that an earlier version of harness wrote, in the columns of today."""

from __future__ import annotations

import pyarrow as pa

from harness.store.schemas import LEDGERS


def in_todays_columns(ledger: str, rows: pa.Table) -> pa.Table:
    """The rows of a ledger with the columns that it has today: one that was added since is null, except that the one
    session of a rerun is now a list, for a rerun may have several. Raises KeyError for a column that was always there.
    """
    schema = LEDGERS[ledger]
    for name, (older, kind) in _RENAMED.items():
        if name in schema.names and name not in rows.column_names and older in rows.column_names:
            listed = [None if value is None else [value] for value in rows[older].to_pylist()]
            rows = rows.append_column(name, pa.array(listed, kind))
    for field in schema:
        if field.name in ADDED[ledger] and field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows.select(schema.names)


_RENAMED = {"rerun_session_ids": ("rerun_session_id", pa.list_(pa.string()))}
ADDED: dict[str, frozenset[str]] = {
    "nights": frozenset({"host"}),
    "alerts": frozenset({"rerun_session_ids", "rerun_decision", "rerun_confidence", "rerun_rounds"}),
}
"""Columns that the ledgers of version 0.1 from before 2026-11-30 lack."""
