#!/bin/sh
# install.sh BUILD SOURCE: what `meson install` puts down can be used by the project in test/consumer, in C and in C++,
# shared and static, by pkg-config, by Meson and by CMake; and it exports nothing but its public names.
set -eu
build=$1 source=$2
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
if ! meson introspect --buildoptions "$build" | grep -q '"name": "b_sanitize", "value": "none"'; then
  # A sanitizer's own symbols would have to be linked too: this test belongs to plain builds.
  sanitized=1
fi
DESTDIR=$stage meson install -C "$build" --no-rebuild > "$stage/log" || { cat "$stage/log"; exit 1; }
prefix=$(meson introspect --buildoptions "$build" | python3 -c '
import json, sys
print(next(o["value"] for o in json.load(sys.stdin) if o["name"] == "prefix"))')
lib=$(dirname "$(find "$stage$prefix" -name libbroadcaster.so)")

prefixed=$stage$prefix
if [ -x "$prefixed/bin/broadcaster" ]; then # the command is an option
  [ -s "$prefixed/share/man/man1/broadcaster.1" ] && [ -s "$prefixed/share/bash-completion/completions/broadcaster" ]
  [ -n "${sanitized:-}" ] || LD_LIBRARY_PATH=$lib "$prefixed/bin/broadcaster" --version | grep -qx 'broadcaster 0.1.0'
fi

stray=$(nm -D --defined-only "$lib/libbroadcaster.so" | awk '{print $3}' | grep -v -e '^bcast_' -e '^__' -e '^_init$' -e '^_fini$' || true)
[ -z "${sanitized:-}" ] || stray=
[ -z "$stray" ] || { echo "exported, but not public: $stray"; exit 1; }
objdump -p "$lib/libbroadcaster.so" | grep -q 'SONAME.*libbroadcaster.so.0'

[ -z "${sanitized:-}" ] || { echo "sanitized build: linking is tested in the plain one"; exit 0; }

export PKG_CONFIG_SYSROOT_DIR="$stage" PKG_CONFIG_PATH="$lib/pkgconfig" LD_LIBRARY_PATH="$lib"
consumer=$source/test/consumer

try() { # try COMMAND...: shows what it said if it fails
  "$@" > "$stage/log" 2>&1 || { echo "failed: $*"; cat "$stage/log"; exit 1; }
}

runs() { # runs FOLDER: the four programs in there work, and only the shared ones want the shared library
  for program in c-shared c-static cpp-shared cpp-static; do
    [ "$("$1/$program")" = 0.1.0 ] || { echo "$1/$program does not say its version"; exit 1; }
    wanted=$(objdump -p "$1/$program" | grep -c 'NEEDED.*libbroadcaster' || true)
    case $program/$wanted in *-shared/1 | *-static/0) ;; *) echo "$1/$program: linked the wrong way"; exit 1 ;; esac
  done
}

passes() { # passes PROGRAM...: each is the conformance suite, and memory:// passes it
  for program; do
    try "$program" memory://installed --rounds 100
    tail -n 1 "$stage/log" | grep -q '^[1-9][0-9]* passed, 0 failed$' || { echo "$program:"; cat "$stage/log"; exit 1; }
  done
}

[ -z "$(pkg-config --print-requires-private broadcaster)" ] || { echo "the package needs others"; exit 1; }
mkdir "$stage/plain"
for kind in shared static; do
  [ $kind = shared ] && static= || static=-static
  flags=$(pkg-config ${static:+--static} --cflags --libs broadcaster)
  try cc $static "$consumer/main.c" -o "$stage/plain/c-$kind" $flags
  try c++ $static -std=c++17 "$consumer/main.cpp" -o "$stage/plain/cpp-$kind" $flags
done
runs "$stage/plain"
for kind in shared static; do
  [ $kind = shared ] && static= || static=-static
  flags=$(pkg-config ${static:+--static} --cflags --libs broadcaster-conformance)
  try cc $static "$consumer/conformance.c" -o "$stage/plain/suite-$kind" $flags
  try c++ $static -std=c++17 -x c++ "$consumer/conformance.c" -x none -o "$stage/plain/suite-cpp-$kind" $flags
  passes "$stage/plain/suite-$kind" "$stage/plain/suite-cpp-$kind"
done

try meson setup "$stage/meson" "$consumer"
try ninja -C "$stage/meson"
runs "$stage/meson"
passes "$stage/meson/suite"

try cmake -S "$consumer" -B "$stage/cmake" -DCMAKE_PREFIX_PATH="$stage$prefix"
try cmake --build "$stage/cmake"
runs "$stage/cmake"
passes "$stage/cmake/suite-broadcaster" "$stage/cmake/suite-static"
