-- What is counted of a device goes on in whoever receives it next.

ALTER TABLE ledger ADD COLUMN totals jsonb;
COMMENT ON COLUMN ledger.totals IS 'What had been counted of each device of the producer with this batch, in this run: received, delivered, rows, missing, reordered, resets, dropped. A successor goes on from it.';
