#!/bin/sh
# Each of 5,000 jobs is done by one worker, and none twice.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$1" 5000 > "$dir/out" 2> "$dir/errors"
cat "$dir/errors"
[ ! -s "$dir/errors" ]
seq -f 'done: job %.0f' 5000 | sort > "$dir/expected"
sort "$dir/out" | cmp - "$dir/expected"
