#!/bin/sh
# Does the program `broker` do what it says?   program.sh BROKER
set -eu
broker=$1

fail() {
  echo "program.sh: $*" >&2
  exit 1
}

# With a command: the environment, commands through the fifos, the command's status.
status=0
"$broker" redis_aof -- sh -euc '
  say() { echo "$1" > "$BROKER_CONTROL"; read -r answer < "$BROKER_ANSWER"; [ "$answer" = "$2" ]; }
  test -S "$SOCKET"
  redis-cli -u "$URL" set key value > /dev/null
  say kill ok
  ! redis-cli -u "$URL" ping > /dev/null 2>&1
  say start ok
  [ "$(redis-cli -u "$URL" get key)" = value ]
  say pause ok
  say resume ok
  say nonsense failed
  say stop ok
  say restart ok
  [ "$(redis-cli -u "$URL" ping)" = PONG ]
  exit 7' || status=$?
[ "$status" -eq 7 ] || fail "the status of the command is $status, not 7"

# By hand: what it prints, and arguments for the server.
"$broker" redis --maxclients 77 < /dev/null | grep -q '^URL=redis://127.0.0.1:[0-9]*/0$' || fail "no URL"
printf 'kill\nstart\nnonsense\n' | "$broker" redis --maxclients 77 2> /dev/null | grep -c '^ok$' | grep -qx 2 ||
  fail "not obeyed"
"$broker" redis --maxclients 77 -- sh -euc '[ "$(redis-cli -u "$URL" config get maxclients | tail -1)" = 77 ]' ||
  fail "the arguments did not reach the server"

# What goes wrong is said.
"$broker" redis --no-such-option yes < /dev/null 2>&1 | grep -q no-such-option ||
  fail "the server's complaint is not shown"
"$broker" nonsense < /dev/null 2>&1 | grep -q "there are: redis" || fail "the kinds are not shown"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
for tool in sh env dirname rm; do ln -s "$(command -v $tool)" "$bin/"; done
PATH=$bin "$broker" redis < /dev/null 2>&1 | grep -q 'apt-get install redis-server' || fail "the package is not named"
