#!/bin/sh
# The command as people and scripts use it.   tool.sh BROADCASTER FANOUT [SCHEME]
# SCHEME is that of test/unit/parrot.c, where the build has it: a broker that says things of itself.
set -eu
tool=$1 fanout=$2 parrot=${3:-}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
export TSAN_OPTIONS="${TSAN_OPTIONS:-} atexit_sleep_ms=0" # else each of many short runs lasts a second longer

complain() { # complain TEXT: what went wrong, and all that was said
  echo "FAILED: $*"
  sed 's/^/  stdout: /' "$dir/out"
  sed 's/^/  stderr: /' "$dir/err"
  failed=1
}
run() { # run CODE WORD...: the command ends with this exit code
  code=$1; shift
  got=0
  "$tool" "$@" > "$dir/out" 2> "$dir/err" < "${input:-/dev/null}" || got=$?
  [ "$got" = "$code" ] || complain "broadcaster $*: exit code $got, not $code"
}
out() { grep -qF -e "$1" "$dir/out" || complain "stdout has no '$1'"; }
err() { grep -qF -e "$1" "$dir/err" || complain "stderr has no '$1'"; }
silent() { [ ! -s "$dir/$1" ] || complain "std$1 should be empty"; }
exactly() { printf "$1" | cmp -s - "$dir/out" || complain "stdout is not '$1'"; }
json() { # json EXPRESSION: about `all`, the list of the objects in the lines of stdout
  python3 -c 'import json, sys
all = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
assert eval(sys.argv[2]), all' "$dir/out" "$1" 2> "$dir/python" || { cat "$dir/python"; complain "not so: $1"; }
}
soon() { # soon COMMAND...: becomes true within 20 seconds
  i=0
  until "$@"; do
    i=$((i + 1))
    [ $i -lt 2000 ] || { complain "never happened: $*"; return; }
    sleep 0.01
  done
}

# help
run 0 --version; out 'broadcaster 0.1.0'; silent err
run 0 --help; out 'usage: broadcaster COMMAND'; silent err
run 0 -h; out 'usage: broadcaster COMMAND'
for command in sub pub history backends bench; do
  run 0 $command --help; out "usage: broadcaster $command"; out "  broadcaster $command "; silent err
  run 0 $command -h
  run 2 $command --nonsense; err "--help"; err "broadcaster $command"; silent out
done
run 2; err 'usage: broadcaster COMMAND'; silent out
run 2 subscribe; err "there is no command 'subscribe'"; err 'broadcaster --help'
run 2 --nonsense; err "there is no option '--nonsense'"

# usage
run 2 sub; err 'give a URL and at least one channel'
run 2 sub memory://; err 'give a URL and at least one channel'
run 2 pub memory://; err 'give a URL and a channel'
run 2 history memory:// a b; err 'one channel'
run 2 sub u c --count; err '--count wants a value: --count N'
run 2 sub u c --count=0; err "--count wants a number from 1"
run 2 sub u c -c x; err "not 'x'"
run 2 sub u c --timeout-ms -1; err "--timeout-ms wants a number"
run 2 sub u c --json=yes; err '--json takes no value'
run 2 sub u c --format '%m %x'; err "'%x' means nothing"
run 2 sub u c --json -f '%m'; err 'two ways to print'
run 2 sub u c --since yesterday; err "not 'yesterday'"
run 2 sub u c --policy never; err "not 'never'"
run 2 sub u c --resume p --history 2; err '--resume says where to begin'
run 2 sub u c --workers 0; err '--workers wants a number from 1'
run 2 pub u c -H noequals; err 'NAME=VALUE'
run 2 pub u c -H =value; err 'NAME=VALUE'
run 2 pub u c message --file f; err 'three sources'
run 2 history u c --before a --after b; err '--before or --after'
run 2 history u c --limit 65537; err 'from 1 to 65536'
run 2 backends u; err 'takes no URL'
run 1 pub u c --file "$dir/absent"; err 'No such file'

# URLs
run 2 sub nonsense x; err 'broadcaster sub: '
run 2 sub nosuch://host x; err 'nosuch'
for command in 'sub memory://user:secret@name x' 'sub memory:// x' 'pub memory:// x y' 'pub memory:// x' 'history memory://?history=5 x'; do
  run 2 $command; silent out
  if grep -q secret "$dir/err"; then complain "the password was shown"; fi
done
run 2 sub memory:// x; err 'memory:// stays within one process'; err "'broadcaster backends'"

# backends
run 0 backends; out 'memory       built in   memory'; out 'reaches other processes'; silent err
run 0 backends --json; json 'all[0]["name"] == "memory" and all[0]["state"] == "built_in" and all[0]["package"] is None'
json '"history" in all[0]["can"] and "processes" not in all[0]["can"] and all[0]["max_channel_bytes"] == 4096'
json 'all[0]["schemes"] == ["memory"] and all[0]["max_message_bytes"] is None'
if [ -c /dev/full ]; then
  got=0; "$tool" --help > /dev/full 2> "$dir/err" || got=$?
  [ $got = 1 ] || complain "a full disk: exit code $got"
  err 'cannot write'
fi

# bench: the same as the program of its own
tiny='--subscribers 1,2 --messages 500 --size 16 --json'
run 0 bench $tiny; json '[(o["subscribers"], o["messages"], o["lost"]) for o in all] == [(1, 500, 0), (2, 500, 0)]'
json 'all[0]["url"] == "memory://"'
run 0 bench memory://here $tiny; json 'all[0]["url"] == "memory://here"'
run 0 bench --url memory://here $tiny; json 'all[0]["url"] == "memory://here"'
run 0 bench --messages 500 --subscribers 1; out 'M deliveries/s'
run 2 bench memory:// memory://; err 'one URL is enough'
run 2 bench --size 1; err 'broadcaster bench: --size wants'
run 1 bench nosuch://; err 'broadcaster bench: open: '
"$fanout" $tiny > "$dir/out"; json '[o["subscribers"] for o in all] == [1, 2]'

if [ -z "$parrot" ]; then
  exit $failed
fi

# with a broker that speaks
run 0 backends; out 'absent       missing    absent   (install test-absent)'; out 'parrot       module     parrot ara'
run 0 backends --json; json '[o for o in all if o["name"] == "absent"][0] == {"name": "absent", "schemes": ["absent"],
  "state": "missing", "package": "test-absent", "can": None, "max_message_bytes": None, "max_channel_bytes": None}'
json '[o["schemes"] for o in all if o["name"] == "parrot"] == [["parrot", "ara"]]'
run 1 sub absent:// x; err 'install test-absent'

run 0 sub $parrot:// greeting -c 3; exactly 'one\ntwo\nthree\n'; err ready
run 0 sub -qc 2 $parrot:// greeting; exactly 'one\ntwo\n'; silent err
run 0 sub $parrot:// --count=1 greeting -f '%c %m %t %T %i %S%%\n'
exactly 'greeting one 1700000000000 2023-11-14T22:13:20.000001Z 7-1 3%%\n'
run 0 sub $parrot:// greeting --json -c 3; json '[o["message"] for o in all] == ["one", "two", "three"]'
json 'list(all[0]) == ["kind", "channel", "message", "id", "timestamp", "key", "headers"]'
json 'all[0]["id"] == "7-1" and all[0]["timestamp"] == "2023-11-14T22:13:20.000001Z" and all[0]["key"] is None'
run 3 sub $parrot:// greeting --count 4 --timeout-ms 500; exactly 'one\ntwo\nthree\n'
run 0 sub $parrot:// silence --timeout-ms 1; silent out
run 4 sub $parrot:// lossy -c 2; exactly 'one\nthree\n'; err "gap: at least 2 messages of 'lossy' lost (broker)"
run 4 sub $parrot:// lossy -c 2 --json; json '[o["kind"] for o in all] == ["message", "gap", "message"]'
run 0 sub $parrot:// endless -c 500 --workers 4
[ "$(sort -u "$dir/out")" = again ] && [ "$(wc -l < "$dir/out")" = 500 ] || complain "torn lines, or not 500"
run 1 sub $parrot:// greeting --history 5; err 'history'
run 1 sub $parrot:// greeting --policy block; err 'broadcaster sub: '
run 1 sub $parrot:// greeting -c 1 --print-position; exactly 'one\n'; err 'no position'
run 1 history $parrot:// x; err 'parrot keeps no history'

# a reader that has seen enough
got=$({ "$tool" sub $parrot:// endless 2> "$dir/err"; echo $? > "$dir/code"; } | head -2)
[ "$got" = "again
again" ] && [ "$(cat "$dir/code")" = 0 ] || complain "after head: $(cat "$dir/code")"
[ "$(cat "$dir/err")" = ready ] || complain "not quiet after head"

# signals: everything that came is there, and it ends well
for signal in INT TERM; do
  : > "$dir/out" # what the last one said must not count
  python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler) # a shell ignores it in what runs in the background
os.execv(sys.argv[1], sys.argv[1:])' "$tool" sub $parrot:// greeting > "$dir/out" 2> "$dir/err" &
  pid=$!
  soon grep -q three "$dir/out"
  kill -$signal $pid
  got=0; wait $pid || got=$?
  [ $got = 0 ] || complain "SIG$signal: exit code $got"
  exactly 'one\ntwo\nthree\n'
done

run 0 pub $parrot:// x one two -k key -H a=b; silent out; silent err
run 1 pub $parrot:// x good 'bad thing' good; err 'broadcaster pub: message 2: refused by the broker'
run 1 pub $parrot:// x --timeout-ms 10 good mute; err 'message 2: '; err 'no result yet'
run 1 pub $parrot:// "$(printf '%0200d' 1)" a b; err 'message 1: '; err 'at most 100'
printf 'good\n\nbad\ngood\nbad too' > "$dir/lines"
input=$dir/lines
run 1 pub $parrot:// x; err 'line 3: refused'; err 'line 5: refused'
[ "$(wc -l < "$dir/err")" = 2 ] || complain "more complaints than failures"
printf 'bad\0good\nbad\0' > "$dir/records"
input=$dir/records
run 1 pub $parrot:// x -0; err 'record 1: refused'
[ "$(wc -l < "$dir/err")" = 1 ] || complain "not split at NUL"
input=
run 1 pub $parrot:// x --file "$dir/records"; err "$dir/records: refused"
run 0 pub $parrot:// x --file "$dir/lines"
run 0 pub $parrot:// x -- --not-an-option

exit $failed
