#!/bin/sh
# Fuzzes each target for so many seconds, and says in a table what came of it:
#     sh test/fuzz/run.sh [SECONDS] [TARGET...]
# What libFuzzer learns is kept in build-fuzz/corpus, what it finds in build-fuzz/found. Exit code 0: nothing was found.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
[ $# -eq 0 ] || shift
if [ $# -eq 0 ]; then
  set -- url options args position json api
  if pkg-config --exists hiredis openssl; then set -- "$@" redis; fi
fi
case $seconds in
  ''|*[!0-9]*) echo "usage: sh test/fuzz/run.sh [SECONDS] [TARGET...]" >&2; exit 2 ;;
esac
for target; do
  [ -f "test/fuzz/fuzz_$target.c" ] || { echo "there is no target '$target'" >&2; exit 2; }
done

command -v clang > /dev/null || { echo "fuzzing needs clang" >&2; exit 1; }
runtime=$(clang -print-file-name="libclang_rt.fuzzer-$(uname -m).a")
[ -f "$runtime" ] || { echo "fuzzing needs clang's libFuzzer: install libclang-rt-14-dev" >&2; exit 1; }
if [ ! -f build-fuzz/build.ninja ]; then
  CC=clang CXX=clang++ meson setup build-fuzz --werror -Dfuzz=true -Dtests=enabled -Dbuildtype=debugoptimized \
    -Db_sanitize=address,undefined -Db_lundef=false > build-fuzz.log 2>&1 || { cat build-fuzz.log; exit 1; }
  mv build-fuzz.log build-fuzz/setup.log
fi
programs=
for target; do programs="$programs test/fuzz/fuzz_$target"; done
# shellcheck disable=SC2086
ninja -C build-fuzz ${NINJA_FLAGS-} $programs > build-fuzz/ninja.log 2>&1 || { cat build-fuzz/ninja.log; exit 1; }

export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
number() { # number NAME LOG: one of libFuzzer's final figures
  sed -n "s/^stat::$1: *//p" "$2"
}
fuzz() { # fuzz TARGET: one row, and what was found; false if anything was
  log=build-fuzz/fuzz_$1.log found=build-fuzz/found/$1 seeds=test/fuzz/corpus/$1 good=0
  mkdir -p "build-fuzz/corpus/$1" "$found" "$seeds"
  touch build-fuzz/started
  # Without its stderr: the arguments' target would fill the disk with complaints. What a check says is asked for below.
  "build-fuzz/test/fuzz/fuzz_$1" -max_total_time="$seconds" -print_final_stats=1 -close_fd_mask=3 -timeout=20 \
    -rss_limit_mb=2048 -max_len="$2" -artifact_prefix="$found/" "build-fuzz/corpus/$1" "$seeds" > "$log" 2>&1 || good=1
  coverage=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\).*/\1 \2/p' "$log" | tail -n 1)
  edges=$(sed -n 's/.*Loaded .* modules *(\([0-9]*\) inline.*/\1/p' "$log" | head -n 1)
  new=$(find "$found" -type f -newer build-fuzz/started)
  printf '%-9s %11s %7s  %5s of %-6s %8s  %s\n' "$1" "$(number number_of_executed_units "$log")" \
    "$(number average_exec_per_sec "$log")" "${coverage% *}" "$edges" "${coverage#* }" \
    "${new:-$([ $good -eq 0 ] && echo nothing || echo "it ended early: see $log")}"
  for input in $new; do
    echo "--- $input:"
    "build-fuzz/test/fuzz/fuzz_$1" -timeout=20 "$input" 2>&1 | tail -n 40
  done
  return $good
}

failed=0
printf '%-9s %11s %7s  %15s %8s  %s\n' target executions per-s edges features found
for target; do
  case $target in
    api) fuzz api 2048 || failed=1 ;;
    *) fuzz "$target" 512 || failed=1 ;;
  esac
done
exit $failed
