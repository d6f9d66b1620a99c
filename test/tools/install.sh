#!/bin/sh
# install.sh BUILD SOURCE: what `meson install` puts down can be linked, by pkg-config and by CMake, shared and static;
# and it exports nothing but its public names.
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

stray=$(nm -D --defined-only "$lib/libbroadcaster.so" | awk '{print $3}' | grep -v -e '^bcast_' -e '^__' -e '^_init$' -e '^_fini$' || true)
[ -z "${sanitized:-}" ] || stray=
[ -z "$stray" ] || { echo "exported, but not public: $stray"; exit 1; }
objdump -p "$lib/libbroadcaster.so" | grep -q 'SONAME.*libbroadcaster.so.0'

[ -z "${sanitized:-}" ] || { echo "sanitized build: linking is tested in the plain one"; exit 0; }

cat > "$stage/user.c" <<'C'
#include <broadcaster/broadcaster.h>
#include <stdio.h>
int main(void)
{
    struct bcast *b;
    if (bcast_open("memory://", NULL, &b) != BCAST_OK)
        return 1;
    bcast_close(b);
    puts(bcast_version());
    return 0;
}
C
pc() { PKG_CONFIG_SYSROOT_DIR=$stage PKG_CONFIG_PATH=$lib/pkgconfig pkg-config "$@" broadcaster; }
cc "$stage/user.c" -o "$stage/shared" $(pc --cflags --libs)
LD_LIBRARY_PATH=$lib "$stage/shared" | grep -qx '0.1.0'
cc "$stage/user.c" -o "$stage/static" $(pc --cflags) "$lib/libbroadcaster.a" -pthread -ldl
"$stage/static" | grep -qx '0.1.0'

mkdir "$stage/cmake"
cat > "$stage/cmake/CMakeLists.txt" <<'C'
cmake_minimum_required(VERSION 3.13)
project(user C)
find_package(broadcaster 0.1 REQUIRED)
add_executable(shared ../user.c)
target_link_libraries(shared broadcaster::broadcaster)
add_executable(static ../user.c)
target_link_libraries(static broadcaster::static)
C
cmake -S "$stage/cmake" -B "$stage/cmake/b" -DCMAKE_PREFIX_PATH="$stage$prefix" > "$stage/log" 2>&1 ||
  { cat "$stage/log"; exit 1; }
cmake --build "$stage/cmake/b" > "$stage/log" 2>&1 || { cat "$stage/log"; exit 1; }
"$stage/cmake/b/shared" | grep -qx '0.1.0'
"$stage/cmake/b/static" | grep -qx '0.1.0'
