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
        ("started_at", _TIME),  # when the worker was started
        ("finished_at", _TIME),  # when it had ended
        ("status", pa.string()),  # ok, failed, interrupted
        ("error_kind", pa.string()),  # a short stable word; null where it did not fail
        ("error_message", pa.string()),  # what happened and what to do; null where it did not fail
        ("stderr_tail", pa.string()),  # the end of the worker's standard error
        ("worker", pa.string()),  # what the worker calls itself, with its version
        ("latency_kind", pa.string()),  # measured, emulated, estimated, or null where the target has no latency
        ("device", pa.string()),  # the name of the device, on which a lease was held
        ("model", pa.string()),  # the name of the model, as tables show it
        ("model_sha256", pa.string()),  # of the file; of more where weights lie apart or a method is chosen
        ("model_bytes", pa.int64()),  # of the file, and of its weights where they lie apart
        ("scenario", pa.string()),  # what was asked of it: generate, offline and so on
        ("measure", pa.string()),  # latency, memory, quality, profile
        ("block", pa.int32()),  # the number of the interleaved block
        ("threads", pa.int32()),  # that the model ran on
        ("cpus", pa.string()),  # null: not pinned
        ("runtime", pa.string()),  # null: the target's own; `worker` says which that was
        ("compile", pa.bool_()),  # whether torch.compile was asked for
        ("batch", pa.int32()),  # samples of one execute; null: not known
        ("prompt_tokens", pa.int32()),  # of one prompt; null where there is none
        ("new_tokens", pa.int32()),  # to generate after each prompt
        ("data", pa.string()),  # the named data that quality was measured on, and its hash
        ("data_sha256", pa.string()),  # of that data
        ("reference_sha256", pa.string()),  # the model that a deviation is measured against
        ("job_json", pa.string()),  # the request: every field of the job
        ("fingerprint", pa.string()),  # hash of all conditions that must match for two rows to be comparable
        ("fingerprint_json", pa.string()),  # those conditions themselves
        ("flags", pa.list_(pa.string())),  # reasons not to trust the row; empty is good
        ("method", pa.string()),  # from the manifest, as are the columns that follow; null without one
        ("parent", pa.string()),  # the model that it was made from
        ("precision", pa.string()),  # what its weights are stored in, such as int4-channel
        ("parameters", pa.int64()),  # their number
        ("bits_per_weight", pa.float64()),  # as learned in training, of the compressed layers
        ("bits_per_weight_stored", pa.float64()),  # as stored, of the compressed layers
        ("recorded_loss_nats", pa.float64()),  # per token, recorded when the model was made
        ("harness_version", pa.string()),  # that ran it
        ("harness_commit", pa.string()),  # that it was installed from; null where pip recorded none
        ("settings_json", pa.string()),  # what the runtime ran with; null: it did not say, or harness was older
        ("family", pa.string()),  # from the manifest: the kind of its method; null: none, or harness was older
        ("weights_bytes", pa.int64()),  # from the manifest: all weights at rest; null where it does not say
    ]
)

SAMPLES = pa.schema(
    [
        ("attempt_id", pa.string()),  # the run that it belongs to
        # first, warmup, steady, prefill, decode, ttft; server: `start_ns` is the scheduled arrival
        ("phase", pa.string()),
        ("iteration", pa.int32()),  # counted from 0 in each phase
        ("start_ns", pa.int64()),  # the worker's monotonic clock
        ("duration_ns", pa.int64()),  # null where there is no clock
        ("instructions", pa.int64()),  # counted by an emulator; null where they are not
    ]
)

SCALARS = pa.schema(
    [
        ("attempt_id", pa.string()),  # the run that it belongs to
        ("name", pa.string()),  # with its unit: peak_rss_bytes, load_method_ns, loss_nats
        ("phase", pa.string()),  # null where the value belongs to the whole job
        ("value", pa.float64()),  # null where it could not be measured
        ("reason", pa.string()),  # why there is no value
    ]
)

OPS = pa.schema(
    [
        ("attempt_id", pa.string()),  # the run that it belongs to
        ("operator", pa.string()),  # its name in the program
        ("delegate", pa.string()),  # the backend that ran it; null: none
        ("calls", pa.int64()),  # how often it ran
        ("total_ns", pa.int64()),  # the time of all its calls
    ]
)

IO = pa.schema(
    [
        ("attempt_id", pa.string()),  # the run that it belongs to
        ("phase", pa.string()),  # the part of the work, such as load
        ("asked_bytes", pa.int64()),  # what the program asked for
        ("read_bytes", pa.int64()),  # what the kernel read from the device for it
        ("major_faults", pa.int64()),  # page faults that had to read from storage
    ]
)

ENVIRONMENT = pa.schema(
    [
        ("attempt_id", pa.string()),  # the run that it belongs to
        ("moment", pa.string()),  # before, after; in a long job also `minute 3`
        ("name", pa.string()),  # of a reading, with its unit
        ("value", pa.string()),  # as text; null where it could not be read
        ("reason", pa.string()),  # why there is no value
    ]
)

ANSWERS = pa.schema(
    [
        ("attempt_id", pa.string()),  # the run that it belongs to
        ("prompt", pa.int32()),  # its number among the prompts, counted from 0
        ("prompt_tokens", pa.list_(pa.int64())),  # the prompt as the model was asked it
        ("tokens", pa.list_(pa.int64())),  # what the model generated, the token that ends it included
        ("prompt_text", pa.string()),  # the prompt as text; null without a tokenizer
        ("text", pa.string()),  # what was generated as text; null without a tokenizer
    ]
)

TABLES: dict[str, pa.Schema] = {
    "runs": RUNS,
    "samples": SAMPLES,
    "scalars": SCALARS,
    "ops": OPS,
    "io": IO,
    "environment": ENVIRONMENT,
    "answers": ANSWERS,
}

NIGHTS = pa.schema(
    [
        ("number", pa.int32()),  # one more than the last: the order of nights, whatever the clock says
        ("config", pa.string()),  # the name of the configuration file
        ("config_sha256", pa.string()),  # of that file
        ("session_id", pa.string()),  # of its `harness run`; null until that has ended
        ("started_at", _TIME),  # when the night began
        ("finished_at", _TIME),  # when it had ended
        ("status", pa.string()),  # started, complete, partial (a job failed), failed (there is no session)
        ("reason", pa.string()),  # why it is not complete
        ("host", pa.string()),  # the machine that ran it; null of nights from before this was recorded
        ("reference", pa.string()),  # the model that time is set against; null: none, or one named by its sha256
    ]
)

ALERTS = pa.schema(
    [
        ("alert_id", pa.string()),  # the same in every row of an alert
        ("row", pa.int32()),  # the highest of an alert counts: rows are added, never changed
        ("night", pa.int32()),  # the night on which the row was written
        ("written_at", _TIME),  # when the row was written
        ("state", pa.string()),  # provisional, published, withdrawn, undone, resolved
        ("reason", pa.string()),  # why it is in this state
        ("config", pa.string()),  # the name of the configuration file
        ("series_id", pa.string()),  # of the jobs that it is about
        ("model", pa.string()),  # the name of the model
        ("condition_json", pa.string()),  # the condition that was measured
        ("metric", pa.string()),  # the name of the metric
        ("kind", pa.string()),  # measured, emulated, estimated
        ("change_night", pa.int32()),  # the first of the new level
        ("before", pa.float64()),  # levels, in the metric's unit
        ("after", pa.float64()),  # the level since the change
        ("p_value", pa.float64()),  # null where figures are exact
        ("good_sha256", pa.string()),  # the file of the last good night
        ("bad_sha256", pa.string()),  # the file of the night of the alert
        ("rerun_session_ids", pa.list_(pa.string())),  # of the newest round, one a look
        ("rerun_ratio", pa.float64()),  # the bad file's figure over the good one's, with its interval
        ("rerun_low", pa.float64()),  # the ends of its interval
        ("rerun_high", pa.float64()),  # the ends of its interval
        ("rerun_processes", pa.int32()),  # the pairs of processes that it rests on
        ("rerun_decision", pa.string()),  # regression, no regression, undecided; null from before this was recorded
        ("rerun_confidence", pa.float64()),  # of the interval; null: 0.99
        ("rerun_rounds", pa.int32()),  # nights on which it was measured again; null: one, where there is a ratio
    ]
)

# Tables of rows that belong to no attempt, one file a row.
LEDGERS: dict[str, pa.Schema] = {"nights": NIGHTS, "alerts": ALERTS}
