#!/bin/sh
# Runs spin over wait.pml: every state, for some numbers of threads.   spin.sh [--full]
# Then with one defect after the other, each of which must be found. --full: the large ones only.
set -eu
cd "$(dirname "$0")"
model=$PWD/wait.pml
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
failed=0

search() { # search CC-OPTION PAN-OPTION MACRO...: leaves what pan says in `out`
  cc=$1 pan=$2; shift 2
  rm -f ./*.trail
  spin -a "$@" "$model" > out 2>&1 &&
    cc -O2 $cc -DVECTORSZ=1024 -DMEMLIM=16000 -o pan pan.c 2> out || { cat out; exit 1; }
  ./pan $pan -m1000000 -n > out 2>&1 || { tail -n 5 out; exit 1; }
  grep -q '^State-vector' out && ! grep -q 'max search depth too small' out ||
    { echo "the search did not end: $*"; cat out; exit 1; }
}
report() { # report NAME
  printf '%-52s %10s states, %5s s\n' "$1" "$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' out)" \
    "$(sed -n 's/^pan: elapsed time \([0-9.e+]*\) .*/\1/p' out)"
}
clean() { # no error, and no state left out
  grep -q 'errors: 0' out && ! grep -q 'Search not completed' out
}
holds() { # holds NAME MACRO...: no error in any state
  name=$1; shift
  search "-DSAFETY ${collapse-}" '' "$@"
  report "$name"
  clean ||
    { echo "FAILED: $name"; spin -t -p -k wait.pml.trail "$@" "$model" | tail -n 60; failed=1; }
}
ends() { # ends NAME MACRO...: no way back to a state, so threads that are not stopped come to rest
  name=$1; shift
  search -DNP -l "$@"
  report "$name"
  clean || { echo "FAILED: $name"; failed=1; }
}
noticed() { # noticed DEFECT MACRO...
  name=$1; shift
  search -DSAFETY '' "-D$name" "$@"
  if grep -q 'errors: 0' out; then
    echo "FAILED: nothing noticed of $name"
    failed=1
  else
    echo "noticed: $name"
  fi
}

# PUBLISHERS is 2 and MESSAGES, of each of them, is 1 where nothing else is said.
if [ "${1-}" = --full ]; then
  holds '3 readers, each step' -DPUBLISHERS=1
  holds '3 readers, message, time-out' -DCOARSE -DPUBLISHERS=1 -DLEAVE -DTIMEOUTS=1
  holds 'reader, poller, cancel, time-out' -DSLEEPERS=2 -DPOLLERS=1 -DPUBLISHERS=1 -DCANCEL -DTIMEOUTS=1
  holds '3 workers, 2 publishers, message, time-out' -DWORKERS=3 -DLEAVE -DTIMEOUTS=1
  collapse=-DCOLLAPSE
  holds '2 readers, 2 publishers, message, time-out, cancel' -DSLEEPERS=2 -DCOARSE -DLEAVE -DTIMEOUTS=1 -DCANCEL
  holds '2 workers, 2 publishers x 2, all of it' -DSLEEPERS=2 -DWORKERS=2 -DMESSAGES=2 -DLEAVE -DTIMEOUTS=1 -DCLOSE
  holds '3 readers, shutdown' -DCOARSE -DPUBLISHERS=1 -DCLOSE
  holds '3 readers, 2 publishers' -DCOARSE
  exit $failed
fi

holds '2 readers, 2 publishers' -DSLEEPERS=2
holds '2 readers, 2 publishers x 2' -DSLEEPERS=2 -DCOARSE -DMESSAGES=2
holds '2 readers, message, time-out, shutdown, commit' -DSLEEPERS=2 -DPUBLISHERS=1 -DLEAVE -DTIMEOUTS=1 -DCLOSE -DCOMMIT
holds '3 readers' -DPUBLISHERS=1 -DCOARSE
holds '2 workers, 2 publishers x 2, message' -DSLEEPERS=2 -DWORKERS=2 -DMESSAGES=2 -DLEAVE
holds '2 workers, message, time-out, shutdown' -DSLEEPERS=2 -DWORKERS=2 -DPUBLISHERS=1 -DLEAVE -DTIMEOUTS=1 -DCLOSE
holds '3 workers x 2, message' -DWORKERS=3 -DPUBLISHERS=1 -DMESSAGES=2 -DLEAVE
holds '2 workers and a reader' -DWORKERS=2 -DPUBLISHERS=1
holds 'reader and poller' -DSLEEPERS=2 -DPOLLERS=1 -DPUBLISHERS=1
ends '2 readers, 2 publishers: no cycle' -DSLEEPERS=2 -DCOARSE

for defect in NO_RECHECK NO_GENERATION NO_RUNG_CHECK SEEN_LATE WAKE_NONE ARM_LATE MARK_LATE; do
  noticed $defect -DSLEEPERS=1 -DPUBLISHERS=1 -DMESSAGES=2
done
noticed NO_ATTENTION -DSLEEPERS=1 -DPUBLISHERS=1 -DCANCEL
for defect in NO_CHAIN NO_LAST_LOOK NO_LOOK_ENTERING NO_LOOK_LEAVING; do
  noticed $defect -DSLEEPERS=2 -DPUBLISHERS=1 -DLEAVE
done
noticed HALF_CHAIN -DPUBLISHERS=1 -DCOARSE
for defect in NO_PASS_ON NO_REST; do
  noticed $defect -DSLEEPERS=2 -DWORKERS=2 -DPUBLISHERS=1 -DMESSAGES=2 -DLEAVE
done
noticed CLOSE_ONE -DSLEEPERS=2 -DWORKERS=2 -DPUBLISHERS=1 -DCLOSE
noticed NO_NOTIFIER -DSLEEPERS=2 -DPOLLERS=1 -DPUBLISHERS=1
for defect in FD_LATE NO_DRAIN_LOOK; do
  noticed $defect -DSLEEPERS=1 -DPOLLERS=1 -DPUBLISHERS=1 -DMESSAGES=2
done
exit $failed
