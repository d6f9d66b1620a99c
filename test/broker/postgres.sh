#!/bin/sh
# PostgreSQL, in the foreground:   DIR=... PORT=... PORT_2=... postgres.sh KIND [ARGUMENT OF POSTGRES...]
# such as -c fsync=on: nothing waits for the disk otherwise. Kinds:
#   postgres          users by scram, md5, and without a password over the Unix socket
#   postgres_base64   the same, with that encoding in the URL
#   postgres_tls      nothing without TLS
#   postgres_standby  as postgres, in recovery until it is promoted
#   pgbouncer         gives each transaction another session; the server behind it is on PORT_2
set -eu
here=$(dirname "$0")
. "$here/common.sh"
kind=$1
shift
bin=$(ls -d /usr/lib/postgresql/*/bin 2> /dev/null | tail -1)
PATH=$bin:$PATH
need postgres postgresql
need initdb postgresql
host=127.0.0.1 port=$PORT data=$DIR/data

# The server refuses to be root.
as=
if [ "$(id -u)" -eq 0 ]; then
  as="setpriv --reuid=postgres --regid=postgres --init-groups --"
  chown postgres "$DIR"
fi

in_single() { # SQL on stdin, a statement per line, with no server running
  $as postgres --single -D "$data" "$1" > "$DIR/single.log" 2>&1
  ! grep -E 'ERROR|FATAL' "$DIR/single.log"
}

hba() {
  if [ $kind = postgres_tls ]; then
    echo "hostssl all all $host/32 scram-sha-256"
    echo "hostssl all all ::1/128 scram-sha-256"
  else
    echo "host all old $host/32 md5"
    echo "host all all $host/32 scram-sha-256"
  fi
  echo "local all all trust"
}

first_time() {
  [ $kind != postgres_tls ] || sh "$here/certs.sh" "$DIR"
  echo secret > "$DIR/password"
  [ -z "$as" ] || chown -R postgres "$DIR"
  $as initdb -D "$data.new" -U postgres -A scram-sha-256 --pwfile "$DIR/password" -E UTF8 --locale C --no-sync \
    --no-instructions > "$DIR/initdb.log" 2>&1 || { cat "$DIR/initdb.log" >&2; exit 1; }
  mv "$data.new" "$data"
  in_single postgres << 'SQL'
create role app login password 'app-password'
set password_encryption = 'md5'; create role old login password 'old-password'
create database app owner app
create database latin encoding 'LATIN1' template template0 locale 'C'
SQL
  hba > "$data/pg_hba.conf"
}
if [ ! -d "$data" ]; then
  first_time
  [ $kind != postgres_standby ] || $as touch "$data/standby.signal"
fi

set -- -D "$data" -c listen_addresses=localhost -c unix_socket_directories="$DIR" \
  -c shared_buffers=16MB -c fsync=off -c full_page_writes=off -c autovacuum=off -c log_min_messages=fatal "$@"
case $kind in
  postgres|postgres_base64|postgres_standby)
    url="postgres://app:app-password@$host:$port/app"
    tell URL_BINARY "$url?encoding=base64"
    tell URL_OLD "postgresql://old:old-password@$host:$port/app"
    tell URL_LATIN "postgres://app:app-password@$host:$port/latin"
    tell URL_UNIX "postgresql:///app?host=$DIR&port=$port&user=app"
    tell URL_ADMIN "postgresql:///app?host=$DIR&port=$port&user=postgres"
    [ $kind != postgres_base64 ] || url="$url?encoding=base64"
    tell URL "$url" ;;
  postgres_tls)
    set -- "$@" -c ssl=on -c ssl_cert_file="$DIR/server.pem" -c ssl_key_file="$DIR/server.key"
    tell URL "postgres://app:app-password@localhost:$port/app?sslmode=verify-full&sslrootcert=$DIR/ca.pem"
    tell URL_BARE "postgres://app:app-password@localhost:$port/app" ;;
  pgbouncer)
    need pgbouncer pgbouncer
    port=$PORT_2
    tell URL "postgres://app:app-password@$host:$PORT/app"
    tell URL_BEHIND "postgres://app:app-password@$host:$PORT_2/app" ;;
  *)
    echo "no such kind: $kind" >&2
    exit 2 ;;
esac
set -- "$@" -c port="$port"
cd "$DIR"

if [ $kind = pgbouncer ]; then
  rm -f "$data/postmaster.pid" "$DIR/.s.PGSQL.$port.lock" # of one that was killed, and may be waiting for its burial
  $as postgres "$@" &
  until $as pg_isready -q -h "$DIR" -p "$port"; do kill -0 $!; sleep 0.02; done
  cat > "$DIR/pgbouncer.ini" << INI
[databases]
app = host=$DIR port=$port user=app dbname=app
[pgbouncer]
listen_addr = $host
listen_port = $PORT
unix_socket_dir = $DIR
auth_type = any
auth_file = $DIR/users
pool_mode = transaction
ignore_startup_parameters = extra_float_digits
INI
  echo '"app" "app-password"' > "$DIR/users"
  exec $as pgbouncer -q "$DIR/pgbouncer.ini"
fi
exec $as postgres "$@"
