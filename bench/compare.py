#!/usr/bin/env python3
"""The library beside a bare ring that does the same work (bench/floor), in turn, round by round.

usage: compare.py BUILD [--rounds N] [--subscribers N,N] [--json]

Prints medians in M deliveries/s (64 messages at a time with next_batch, and with the floor that describes messages in
an array of events before it looks at them; one at a time with next), and the medians of the ratios taken within each round: machines drift, ratios do not.
Then what publishers pay: with 256 idle subscriptions beside 1, and four at once beside four on a bare shared log.
"""
import argparse
import json
import statistics
import subprocess
import sys


def run(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def fanout(build, subscribers, messages, *more):
    out = run([f"{build}/bench/fanout", "--json", "--subscribers", str(subscribers), "--messages", str(messages), *more])
    result = json.loads(out)
    if result["lost"]:
        sys.exit(f"messages were lost: {out}")
    return result["deliveries_per_s"] / 1e6


def floor(build, subscribers, messages, *more):
    return float(run([f"{build}/bench/floor", *more, str(messages), "64", str(subscribers)]))


def in_turn(what, rounds, measurements):
    """One after another, so many rounds: a list of what each round gave."""
    rows = []
    for i in range(rounds):
        print(f"\r{what}: round {i + 1} of {rounds} ", end="", file=sys.stderr, flush=True)
        rows.append([measure() for measure in measurements])
    print("\r" + " " * 80 + "\r", end="", file=sys.stderr, flush=True)
    return rows


def median(rows, which):
    return statistics.median(row[which] for row in rows)


def median_ratio(rows, which, to):
    return statistics.median(row[which] / row[to] for row in rows)


def beside_the_floor(build, subscribers, rounds):
    messages = 16000000 // max(1, subscribers // 4) if subscribers > 1 else 12000000
    rows = in_turn(f"{subscribers} subscribers", rounds,
                   [lambda: floor(build, subscribers, messages),
                    lambda: fanout(build, subscribers, messages),
                    lambda: fanout(build, subscribers, messages, "--batch", "1"),
                    lambda: floor(build, subscribers, messages, "-events", "64")])
    return {"subscribers": subscribers, "rounds": rounds,
            "floor": median(rows, 0), "batch": median(rows, 1), "next": median(rows, 2),
            "floor_events": median(rows, 3), "batch_ratio_events": median_ratio(rows, 1, 3),
            "batch_ratio": median_ratio(rows, 1, 0), "next_ratio": median_ratio(rows, 2, 0)}


def cpu_ns(build, idle):
    out = run([f"{build}/bench/fanout", "--json", "--subscribers", "0", "--idle-subscribers", str(idle),
               "--messages", "20000000"])
    return json.loads(out)["publisher_cpu_ns"]


def pair(what, rounds, ours, other):
    rows = in_turn(what, rounds, [ours, other])
    return {"what": what, "rounds": rounds, "ours": median(rows, 0), "other": median(rows, 1),
            "ratio": median_ratio(rows, 0, 1)}


def publishers(build, rounds):
    yield pair("ns of CPU per message: 256 idle subscriptions, 1", rounds,
               lambda: cpu_ns(build, 256), lambda: cpu_ns(build, 1))
    yield pair("M messages/s: 4 publishers to 1 subscriber, to a bare log", rounds,
               lambda: fanout(build, 1, 16000000, "--publishers", "4"),
               lambda: float(run([f"{build}/bench/floor", "-log", "4", "4000000", "64", "1"])))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--subscribers", default="1,4,16,64")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.json:
        print("M deliveries/s, 64 bytes, block; then the medians of ratios\n"
              "subscribers  floor  with events  next_batch   next   next_batch/floor  /with events  next/floor")
    for subscribers in map(int, arguments.subscribers.split(",")):
        r = beside_the_floor(arguments.build, subscribers, arguments.rounds)
        if arguments.json:
            print(json.dumps(r), flush=True)
        else:
            print(f"{subscribers:11}  {r['floor']:5.1f}  {r['floor_events']:11.1f}  {r['batch']:10.1f}  {r['next']:5.1f}"
                  f"  {r['batch_ratio']:16.2f}  {r['batch_ratio_events']:12.2f}  {r['next_ratio']:10.2f}", flush=True)
    for r in publishers(arguments.build, arguments.rounds):
        print(json.dumps(r) if arguments.json else f"{r['what']}: {r['ours']:.1f}, {r['other']:.1f}: {r['ratio']:.2f}",
              flush=True)


main()
