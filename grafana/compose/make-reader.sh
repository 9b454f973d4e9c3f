# Runs once, when the database is made: the user that Grafana logs in as. The pipeline's migrations then let
# karman_reader read.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set password="$(cat "$READER_PASSWORD_FILE")" \
    --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE karman_reader NOLOGIN;
CREATE ROLE grafana LOGIN PASSWORD :'password' IN ROLE karman_reader;
ALTER ROLE grafana SET default_transaction_read_only = on;
ALTER ROLE grafana SET statement_timeout = '30s';
SQL
