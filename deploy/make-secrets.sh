#!/bin/sh
# Makes what is missing of the secrets that docker-compose.yml names, and leaves alone what is there:
#   sh deploy/make-secrets.sh [FOLDER]     (default: secrets beside docker-compose.yml)
set -eu
cd "$(dirname "$0")/.."
folder=${1:-secrets}

mkdir -p "$folder"
# Containers read the files as users of their own, so everybody may read them; the folder keeps everybody out.
chmod 700 "$folder"
for name in api_key key_pepper webhook_key database_password broker_password s3_secret_access_key grafana_password; do
    [ -e "$folder/$name" ] && continue
    (umask 077 && od -An -vtx1 -N32 /dev/urandom | tr -d ' \n' > "$folder/$name.new")
    # An empty one would leave a door open: Redis takes it for no password.
    [ "$(wc -c < "$folder/$name.new")" -eq 64 ] || { echo "no random bytes for $folder/$name" >&2; exit 1; }
    chmod 444 "$folder/$name.new"
    mv "$folder/$name.new" "$folder/$name"
    echo "made $folder/$name"
done
