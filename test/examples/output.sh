#!/bin/sh
# output.sh PROGRAM LINE: the program succeeds and prints exactly this line.
set -eu
out=$("$1")
[ "$out" = "$2" ] || { echo "printed '$out', not '$2'"; exit 1; }
