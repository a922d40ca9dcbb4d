"""Results on disk: Parquet tables, one file a job attempt, hive-partitioned by date and target."""
