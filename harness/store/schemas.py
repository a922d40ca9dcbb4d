"""The tables of the store and their columns, version 1.

Units stand in the names; a value that was not measured is null, never 0 or NaN, and says why in `reason`. Every table
carries `attempt_id`, the key that joins it to `runs`. `date` and `target` are partition keys: they are in the folder
names and pandas shows them as columns.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 1
VERSION_KEY = b"harness.schema_version"

_TIME = pa.timestamp("us", tz="UTC")

RUNS = pa.schema(
    [
        ("attempt_id", pa.string()),  # one worker process, once
        ("job_id", pa.string()),  # sha256 of the request: a rerun is another attempt of the same job
        ("series_id", pa.string()),  # what the replicates of one configuration share
        ("session_id", pa.string()),  # one call of `harness run`
        ("position", pa.int32()),  # the job's place in the order of the session
        ("started_at", _TIME),
        ("finished_at", _TIME),
        ("status", pa.string()),  # ok, failed, interrupted
        ("error_kind", pa.string()),
        ("error_message", pa.string()),
        ("stderr_tail", pa.string()),
        ("worker", pa.string()),
        ("latency_kind", pa.string()),  # measured, emulated, estimated, or null where the target has no latency
        ("device", pa.string()),
        ("model", pa.string()),
        ("model_sha256", pa.string()),
        ("model_bytes", pa.int64()),
        ("scenario", pa.string()),
        ("measure", pa.string()),  # latency, memory, quality, profile
        ("block", pa.int32()),
        ("threads", pa.int32()),
        ("cpus", pa.string()),  # null: not pinned
        ("runtime", pa.string()),  # null: the target's own; `worker` says which that was
        ("compile", pa.bool_()),
        ("batch", pa.int32()),
        ("prompt_tokens", pa.int32()),
        ("new_tokens", pa.int32()),
        ("data", pa.string()),  # the named data that quality was measured on, and its hash
        ("data_sha256", pa.string()),
        ("reference_sha256", pa.string()),  # the model that a deviation is measured against
        ("job_json", pa.string()),
        ("fingerprint", pa.string()),  # hash of all conditions that must match for two rows to be comparable
        ("fingerprint_json", pa.string()),
        ("flags", pa.list_(pa.string())),  # reasons not to trust the row; empty is good
        ("method", pa.string()),  # from the manifest, as are the columns that follow; null without one
        ("parent", pa.string()),
        ("precision", pa.string()),
        ("parameters", pa.int64()),
        ("bits_per_weight", pa.float64()),
        ("bits_per_weight_stored", pa.float64()),
        ("recorded_loss_nats", pa.float64()),
        ("harness_version", pa.string()),
        ("harness_commit", pa.string()),
    ]
)

SAMPLES = pa.schema(
    [
        ("attempt_id", pa.string()),
        # first, warmup, steady, prefill, decode, ttft; server: `start_ns` is the scheduled arrival
        ("phase", pa.string()),
        ("iteration", pa.int32()),
        ("start_ns", pa.int64()),  # the worker's monotonic clock
        ("duration_ns", pa.int64()),  # null where there is no clock
        ("instructions", pa.int64()),
    ]
)

SCALARS = pa.schema(
    [
        ("attempt_id", pa.string()),
        ("name", pa.string()),  # with its unit: peak_rss_bytes, load_method_ns, loss_nats
        ("phase", pa.string()),  # null where the value belongs to the whole job
        ("value", pa.float64()),
        ("reason", pa.string()),  # why there is no value
    ]
)

OPS = pa.schema(
    [
        ("attempt_id", pa.string()),
        ("operator", pa.string()),
        ("delegate", pa.string()),
        ("calls", pa.int64()),
        ("total_ns", pa.int64()),
    ]
)

IO = pa.schema(
    [
        ("attempt_id", pa.string()),
        ("phase", pa.string()),
        ("asked_bytes", pa.int64()),
        ("read_bytes", pa.int64()),
        ("major_faults", pa.int64()),
    ]
)

ENVIRONMENT = pa.schema(
    [
        ("attempt_id", pa.string()),
        ("moment", pa.string()),  # before, after; in a long job also `minute 3`
        ("name", pa.string()),
        ("value", pa.string()),
        ("reason", pa.string()),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "runs": RUNS,
    "samples": SAMPLES,
    "scalars": SCALARS,
    "ops": OPS,
    "io": IO,
    "environment": ENVIRONMENT,
}

NIGHTS = pa.schema(
    [
        ("number", pa.int32()),  # one more than the last: the order of nights, whatever the clock says
        ("config", pa.string()),  # the name of the configuration file
        ("config_sha256", pa.string()),
        ("session_id", pa.string()),  # of its `harness run`; null until that has ended
        ("started_at", _TIME),
        ("finished_at", _TIME),
        ("status", pa.string()),  # started, complete, partial (a job failed), failed (there is no session)
        ("reason", pa.string()),
        ("host", pa.string()),  # the machine that ran it; null of nights from before this was recorded
    ]
)

ALERTS = pa.schema(
    [
        ("alert_id", pa.string()),
        ("row", pa.int32()),  # the highest of an alert counts: rows are added, never changed
        ("night", pa.int32()),  # the night on which the row was written
        ("written_at", _TIME),
        ("state", pa.string()),  # provisional, published, withdrawn, undone, resolved
        ("reason", pa.string()),
        ("config", pa.string()),
        ("series_id", pa.string()),
        ("model", pa.string()),
        ("condition_json", pa.string()),
        ("metric", pa.string()),
        ("kind", pa.string()),  # measured, emulated, estimated
        ("change_night", pa.int32()),  # the first of the new level
        ("before", pa.float64()),  # levels, in the metric's unit
        ("after", pa.float64()),
        ("p_value", pa.float64()),  # null where figures are exact
        ("good_sha256", pa.string()),
        ("bad_sha256", pa.string()),
        ("rerun_session_ids", pa.list_(pa.string())),  # of the newest round, one a look
        ("rerun_ratio", pa.float64()),  # the bad file's figure over the good one's, with its interval
        ("rerun_low", pa.float64()),
        ("rerun_high", pa.float64()),
        ("rerun_processes", pa.int32()),
        ("rerun_decision", pa.string()),  # regression, no regression, undecided; null from before this was recorded
        ("rerun_confidence", pa.float64()),  # of the interval; null: 0.99
        ("rerun_rounds", pa.int32()),  # nights on which it was measured again; null: one, where there is a ratio
    ]
)

# Tables of rows that belong to no attempt, one file a row.
LEDGERS: dict[str, pa.Schema] = {"nights": NIGHTS, "alerts": ALERTS}
