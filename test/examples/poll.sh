#!/bin/sh
# Each line comes back while the input is still open: the subscription's fd has said so. (If not, this waits in vain,
# and the test runs into its time-out.)
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkfifo "$dir/in" "$dir/out"
"$1" < "$dir/in" > "$dir/out" &
exec 3> "$dir/in" 4< "$dir/out"
for line in one two three; do
  echo "$line" >&3
  read -r got <&4
  [ "$got" = "message: $line" ] || { echo "printed '$got'"; exit 1; }
done
exec 3>&-
wait $!
