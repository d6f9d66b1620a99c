#!/bin/sh
# The Python that has the library broadcaster, in build-python.
#     python.sh           makes it, unless that was done already: python3-venv, and a package index in reach of pip
#     python.sh WORD...   runs it
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$root/build-python/bin/python made=$root/build-python/made
set_of="broadcaster[redis,postgres,kafka]>=0.3.1,<0.4 redis<8"

is_made() { [ "$(cat "$made" 2> /dev/null)" = "$set_of" ] && "$python" -c 'import aiokafka, asyncpg, broadcaster, redis'; }

if [ $# -ne 0 ]; then
  is_made || { echo "there is no Python library 'broadcaster' to talk to: sh test/interop/python.sh" >&2; exit 1; }
  exec "$python" "$@"
fi
is_made && exit
echo "installing the Python library 'broadcaster' into build-python"
rm -rf "$root/build-python"
# shellcheck disable=SC2086
python3 -m venv "$root/build-python" &&
  "$python" -m pip install -q --disable-pip-version-check --retries 2 --timeout 20 $set_of ||
  { echo "the Python library 'broadcaster' cannot be installed: pip reaches no package index, or see above" >&2; exit 1; }
echo "$set_of" > "$made"
