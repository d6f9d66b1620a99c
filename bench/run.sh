#!/bin/sh
# Builds a release, shows a text going to three worker threads, and measures the fan-out.
#     sh bench/run.sh [--no-install] [URL]        URL: memory:// unless given
set -eu
cd "$(dirname "$0")/.."
install=1 url=memory://
for word; do
  case $word in
    --no-install) install= ;;
    -*) echo "usage: sh bench/run.sh [--no-install] [URL]" >&2; exit 2 ;;
    *) url=$word ;;
  esac
done
. bench/packages.sh
need "gcc g++ meson ninja-build pkg-config cmake libck-dev" "$install"

echo "building a release in build-release"
[ -f build-release/build.ninja ] || meson setup build-release -Dtests=disabled > build-release.log 2>&1 ||
  { cat build-release.log; exit 1; }
rm -f build-release.log
ninja -C build-release > build-release/ninja.log 2>&1 || { cat build-release/ninja.log; exit 1; }

echo
echo "docs/examples/quickstart.c over $url: every line reaches each of three workers, in order"
echo
build-release/docs/examples/quickstart docs/examples/text.txt "$url"
echo
echo "Fan-out over $url: one publisher, 64-byte messages, every one checked by every subscriber, in batches."
echo "'lost' counts messages that a subscriber never got."
echo
build-release/bench/fanout --url "$url"
