#!/usr/bin/env bash
# Starts PostgreSQL as the official image's entrypoint of the same name does: on the first start it
# makes the data directory, the user, the database and runs /docker-entrypoint-initdb.d; on every
# start it ends up as the server, never as root.
# Not -u: the scripts that are sourced below are not written for it.
set -eo pipefail

fail() {
  echo "docker-entrypoint.sh: $1" >&2
  exit 1
}

# Sets $1 to its own value, to what the file named by $1_FILE holds, or to $2.
read_setting() {
  local name=$1 file_name=${1}_FILE
  if [[ -n ${!name} && -n ${!file_name} ]]; then
    fail "both $name and $file_name are set; expected one. Unset the other."
  fi
  if [[ -n ${!file_name} ]]; then
    export "$name=$(<"${!file_name}")"
  else
    export "$name=${!name:-$2}"
  fi
}

prepare_as_root() {
  install -d -m 700 "$PGDATA"
  find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres:postgres {} +
}

make_data_directory() {
  # The password goes through a pipe, for arguments are there for every process to read. The socket
  # of the wheel would be in /tmp. eval, because the arguments may be quoted as in a shell.
  eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD")' \
    '--set unix_socket_directories=/var/run/postgresql' "$POSTGRES_INITDB_ARGS"
  printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" \
    >>"$PGDATA/pg_hba.conf"
}

run_init_scripts() {
  local script
  # shellcheck source=/dev/null
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sql) psql --no-psqlrc -v ON_ERROR_STOP=1 -d "$POSTGRES_DB" -f "$script" ;;
      *.sh) if [[ -x $script ]]; then "$script"; else . "$script"; fi ;;
    esac
  done
}

# Fills the new cluster while nobody else can reach it: the server listens on its socket only.
fill_cluster() {
  "$@" -c listen_addresses= &
  local server=$!
  export PGUSER=$POSTGRES_USER PGPASSWORD=$POSTGRES_PASSWORD PGDATABASE=postgres
  until pg_isready -q; do
    kill -0 "$server" || fail "the server ended before the database was filled; see above."
    ((SECONDS < 60)) || fail "no answer on the socket in $PGHOST after 60 s; see above."
    sleep 0.1
  done
  if [[ $POSTGRES_DB != postgres ]]; then createdb --no-password "$POSTGRES_DB"; fi
  run_init_scripts
  unset PGUSER PGPASSWORD PGDATABASE
  kill -INT "$server"
  wait "$server"
}

if [[ $1 == -* ]]; then set -- postgres "$@"; fi
if [[ $1 != postgres ]]; then exec "$@"; fi

if [[ $(id -u) == 0 ]]; then
  prepare_as_root
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [[ ! -s $PGDATA/PG_VERSION ]]; then
  read_setting POSTGRES_USER postgres
  read_setting POSTGRES_DB "$POSTGRES_USER"
  read_setting POSTGRES_PASSWORD ''
  read_setting POSTGRES_INITDB_ARGS ''
  if [[ -z $POSTGRES_PASSWORD && $POSTGRES_HOST_AUTH_METHOD != trust ]]; then
    fail "no password for the user $POSTGRES_USER; expected POSTGRES_PASSWORD or \
POSTGRES_PASSWORD_FILE. Set one of them."
  fi
  make_data_directory
  fill_cluster "$@"
fi
exec "$@"
