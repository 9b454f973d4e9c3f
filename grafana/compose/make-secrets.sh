# Makes the passwords of the database that are not there yet: $1 for tests, else /secrets. Each service sees its own.
set -eu
folder=${1:-/secrets}
for name in owner reader; do
    if [ ! -s "$folder/$name/password" ]; then
        tr -d '\n' </proc/sys/kernel/random/uuid >"$folder/$name/password" # 122 random bits
    fi
done
printf 'postgresql://karman:%s@timescale:5432/karman' "$(cat "$folder/owner/password")" >"$folder/owner/dsn"
chmod 0444 "$folder"/*/* # the services run as different users
