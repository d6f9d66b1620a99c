#!/bin/sh
# Installs what the chat needs, builds it, and starts it.
#     sh docs/examples/chat/run.sh [--no-install] [-p PORT] [-c CLIENTS] [URL [ROOM...]]
set -eu
root=$(cd "$(dirname "$0")/../../.." && pwd)
install=1
if [ "${1:-}" = --no-install ]; then
  install=
  shift
fi
. "$root/bench/packages.sh"
need "gcc g++ meson ninja-build pkg-config libck-dev libcivetweb-dev libjansson-dev \
  libhiredis-dev libssl-dev libpq-dev librdkafka-dev" "$install"
build=$root/build-chat
echo "building in build-chat"
[ -f "$build/build.ninja" ] || meson setup "$build" "$root" \
  -Dtests=disabled -Dtool=disabled -Dchat=enabled > "$build.log" 2>&1 ||
  { cat "$build.log"; exit 1; }
rm -f "$build.log"
ninja -C "$build" > "$build/ninja.log" 2>&1 || { cat "$build/ninja.log"; exit 1; }
exec "$build/docs/examples/chat-server" "$@"
