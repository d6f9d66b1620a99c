#!/usr/bin/env python3
"""Adds up what `meson test` wrote in each build folder: a cmocka program and the conformance suite count
each of their cases, others count once."""
import json
import re
import sys
from pathlib import Path


def results(folder):
    for log in sorted(Path(folder, "meson-logs").glob("testlog*.json")):
        for line in log.read_text().splitlines():
            yield json.loads(line)


def count(test):
    out = test.get("stdout", "") + test.get("stderr", "")
    good = len(re.findall(r"^(?:\[ +OK \]|PASSED +\S+ +\d+ ms)", out, re.M))
    cases = len(re.findall(r"^FAILED +\S+ +\d+ ms", out, re.M))
    bad = len(re.findall(r"^\[  FAILED  \] (?!\d+ test)", out, re.M))
    if test["result"] == "OK":
        return max(good, 1), 0
    return good, max(bad // 2 + cases, 1)  # cmocka names each failure twice


passed = failed = 0
for folder in sys.argv[1:]:
    tests = list(results(folder))
    if not tests:
        print(f"{folder}: no test was run")
        failed += 1
    for test in tests:
        good, bad = count(test)
        passed += good
        failed += bad
        if bad:
            print(f"{folder}: {test['name']}: {test['result']}")
print(f"{passed} passed, {failed} failed")
sys.exit(bool(failed))
