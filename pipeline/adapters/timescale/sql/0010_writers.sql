-- Of the processes that write for a pipeline one after the other, only the newest stores batches.

CREATE TABLE writer (
    run_us bigint,
    shard  int,
    began  bigint NOT NULL,
    PRIMARY KEY (run_us, shard)
);
COMMENT ON TABLE writer IS 'Which process writes for each run of a pipeline, and shard of its store: one that was cut off and replaced stores no batch any more.';
