-- A stream that a device leaves out of messages which come is no loss on the way.

COMMENT ON COLUMN gap.reason IS 'transport: lost between device and pipeline. restart: the pipeline, or its ingest, was down. absent: the device left the stream out of messages that came.';
