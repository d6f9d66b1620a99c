#!/bin/sh
# Every message in order, the headers with it; and cancelling is what ends the loop.
set -eu
out=$("$1" one 'two words')
[ "$out" = "main: one
main: two words
somebody: bye
cancelled" ] || { echo "printed '$out'"; exit 1; }
