#!/bin/sh
# Installs what the tests need, builds, runs all of them, and ends with "N passed, N failed".
#     sh test/run.sh [--full] [--no-install]
# --full runs the long campaigns as well. --no-install checks for what is missing and says so, instead of installing it.
set -eu
cd "$(dirname "$0")/.."
full= install=1
for word; do
  case $word in
    --full) full=1 ;;
    --no-install) install= ;;
    *) echo "usage: sh test/run.sh [--full] [--no-install]" >&2; exit 2 ;;
  esac
done
. bench/packages.sh
packages="gcc g++ clang meson ninja-build pkg-config cmake python3 python3-venv clang-format-14 binutils libck-dev libcmocka-dev libclang-rt-14-dev libcivetweb-dev libjansson-dev chromium chromium-driver spin redis-server redis-tools openssl libhiredis-dev libssl-dev postgresql pgbouncer libpq-dev librdkafka-dev openjdk-17-jre-headless maven"
need "$packages" "$install"
sh test/broker/kafka/fetch.sh > /dev/null

build() { # build NAME OPTION...: configures and compiles build-NAME
  name=$1; shift
  [ -f "build-$name/build.ninja" ] || env CC="$CC" CXX="$CXX" meson setup "build-$name" --werror -Dchat=enabled "$@" > "build-$name.log" 2>&1 ||
    { cat "build-$name.log"; exit 1; }
  rm -f "build-$name.log"
  ninja -C "build-$name" > "build-$name/ninja.log" 2>&1 || { cat "build-$name/ninja.log"; exit 1; }
}

rm -f build-*/meson-logs/testlog*.json
failed=0
# If it fails, everything else is tested all the same. Without it the suite interop fails, and says why.
[ -z "$install" ] || sh test/interop/python.sh || failed=1

check() { # check NAME [MESON TEST OPTION...]
  name=$1; shift
  echo "== $name"
  meson test -C "build-$name" --no-rebuild --print-errorlogs "$@" || failed=1
}

export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
echo "building: gcc with AddressSanitizer and UBSan, clang with ThreadSanitizer, the portable fallback, clang release"
CC=gcc CXX=g++; build asan -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Dtest_hooks=true
CC=clang CXX=clang++; build tsan -Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false -Dtest_hooks=true
CC=gcc CXX=g++; build posix -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Dtest_hooks=true -Dos=posix -Dmodules=false
CC=clang CXX=clang++; build plain -Dtest_hooks=true

check asan --no-suite full --no-suite install --no-suite style
check tsan --no-suite full --no-suite browser --no-suite interop --no-suite install --no-suite headers --no-suite style
check posix --no-suite full --no-suite browser --no-suite interop --no-suite install --no-suite headers --no-suite style --no-suite examples
check plain --no-suite full --no-suite browser --no-suite interop
if [ -n "$full" ]; then
  check asan --suite full
  check tsan --suite full
  check plain --suite full
fi
python3 test/tools/count.py build-asan build-tsan build-posix build-plain
exit $failed
