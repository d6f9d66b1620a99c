#!/bin/sh
# Every line reaches each of the three workers once, in order.
set -eu
text=$(mktemp)
trap 'rm -f "$text" "$text".*' EXIT
i=1
while [ $i -le 500 ]; do echo "line number $i of five hundred"; i=$((i + 1)); done > "$text"
"$1" "$text" > "$text.out"
for worker in 1 2 3; do
  sed -n "s/^worker $worker: //p" "$text.out" > "$text.$worker"
  cmp "$text" "$text.$worker"
done
[ "$(wc -l < "$text.out")" -eq 1500 ]
