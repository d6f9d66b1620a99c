#!/bin/sh
# Which lines of lib/ the tests run: builds with gcov, runs the unit tests, the conformance suite, short stress runs, the
# command's tests and the examples, and prints a table. Fails below 90 % of all lines.
#     sh test/tools/coverage.sh [--no-install]
set -eu
cd "$(dirname "$0")/../.."
. bench/packages.sh
need "gcc g++ meson ninja-build pkg-config gcovr libck-dev libcmocka-dev libcivetweb-dev" "$([ "${1:-}" = --no-install ] || echo 1)"
build=build-coverage
[ -f $build/build.ninja ] || CC=gcc CXX=g++ meson setup $build -Db_coverage=true -Dbuildtype=debug -Dtest_hooks=true \
  -Dchat=enabled > /dev/null
ninja -C $build ${NINJA_JOBS:--j2} > $build/ninja.log 2>&1 || { cat $build/ninja.log; exit 1; }
find $build -name '*.gcda' -delete
failed=0
meson test -C $build --no-rebuild --print-errorlogs --suite unit --suite conformance --suite tool --suite examples ||
  failed=1
for shape in "" --large; do
  $build/test/stress --seconds "${STRESS_SECONDS:-5}" $shape || failed=1
done
$build/test/ending --seconds "${STRESS_SECONDS:-5}" || failed=1
[ $failed = 0 ] || echo "a test failed: what follows is not the whole picture"
# Lines, not branches: gcc counts the branches that it makes itself. The command and the library, not the tests.
gcovr --root . --object-directory $build --filter 'lib/' --exclude-unreachable-branches --gcov-ignore-parse-errors \
  --fail-under-line 90 || failed=1
exit $failed
