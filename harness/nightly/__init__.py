"""Night after night: measures a plan, watches every series, and alerts only after an interleaved rerun agrees."""
