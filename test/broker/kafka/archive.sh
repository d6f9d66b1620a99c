#!/bin/sh
# Makes the archive of the classes that a Kafka broker loads when it starts, once: with it Java starts it in half the time.
#     archive.sh JARS        JARS is the folder with Kafka's jars, and the archive is beside it
#     archive.sh JARS name   prints only where it is, or would be
# It is good for one Java only, with the jars in the place where they are.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
jars=$1
home=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")
archive=$jars-$(cat "$home/release" "$0" 2> /dev/null | cksum | cut -d ' ' -f 1).jsa
[ "${2:-}" != name ] || { echo "$archive"; exit 0; }
[ ! -f "$archive" ] || exit 0

new=$(mktemp -d "$jars.XXXXXX")
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2> /dev/null || :; rm -rf "$new"' EXIT
first=$((20000 + $$ % 10000)) # below those that the system gives away
DIR=$new PORT=$first ARCHIVE=$new/archive.jsa
export DIR PORT ARCHIVE
for i in 2 3 4 5 6 7; do export "PORT_$i=$((first + i))"; done
sh "$here/../kafka.sh" kafka > "$new/log" 2>&1 &
pid=$!
tries=0
while ! grep -q 'Kafka Server started' "$new/log" 2> /dev/null; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] && kill -0 "$pid" 2> /dev/null || { cat "$new/log" >&2; exit 1; }
  sleep 0.2
done
kill "$pid"
wait "$pid" || : # the status of a SIGTERM
pid=
mv "$ARCHIVE" "$archive"
