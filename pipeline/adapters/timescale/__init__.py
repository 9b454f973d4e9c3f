"""The database: schema, upkeep, and batches stored exactly once. The only importer of psycopg and pgpq.

`connection` connects and translates errors, `schema` migrates, `upkeep` keeps partitions and policies, `store` writes.
"""
