#!/bin/sh
# The guardian of one broker:   keep.sh DIR
# Reads on stdin the process group of the server, an empty line when there is none. When stdin ends, the test has ended,
# in whichever way: then nothing of the broker shall be left.
group=
while read -r word; do group=$word; done
[ -z "$group" ] || kill -s KILL -- "-$group" 2> /dev/null
rm -rf "$1"
