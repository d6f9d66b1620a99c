#!/usr/bin/env python3
"""The library beside bare hiredis over one Redis server, in turn; medians of the ratios within each round.
usage: compare_redis.py BUILD [--rounds N] [--messages N] [--server PORT]     without --server it starts one
"""
import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_server(folder):
    port = free_port()
    server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder,
                               "--appendonly", "no"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return server, port
        except OSError:
            time.sleep(0.05)
    sys.exit("redis-server does not answer")


def run(*words):
    return json.loads(subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True).stdout)


def rounds(args, port, scheme, extra, subscribers):
    """For each round what the library measured, and what bare hiredis did."""
    pairs = []
    for i in range(args.rounds):
        if sys.stderr.isatty():
            print(f"\r  {scheme}, {subscribers} subscribers: round {i + 1} of {args.rounds} ", end="", file=sys.stderr)
        ours = run(f"{args.build}/bench/fanout", "--json", "--url", f"{scheme}://127.0.0.1:{port}", "--subscribers",
                   subscribers, "--messages", args.messages, "--check", "sum")
        bare = run(f"{args.build}/bench/bare_redis", port, args.messages, 64, subscribers, *extra)
        pairs.append((ours, bare))
    if sys.stderr.isatty():
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    return pairs


def line(name, pairs, ours_key, bare_key):
    ours = [o[ours_key] for o, _ in pairs]
    bare = [b[bare_key] for _, b in pairs]
    ratios = [o[ours_key] / b[bare_key] for o, b in pairs]
    print(f"{name:46} {statistics.median(ours):14,.1f} {statistics.median(bare):14,.1f} {statistics.median(ratios):8.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=500000)
    parser.add_argument("--server", type=int)
    args = parser.parse_args()
    folder = tempfile.mkdtemp()
    server, port = (None, args.server) if args.server else start_server(folder)
    try:
        print(f"{'':46} {'library':>14} {'bare hiredis':>14} {'ratio':>8}")
        for scheme, extra in (("redis", []), ("redis-stream", ["--stream", "1000"])):
            for subscribers in (1, 16, 64) if scheme == "redis" else (1, 16):
                pairs = rounds(args, port, scheme, extra, subscribers)
                lost = sum(o["lost"] for o, _ in pairs)
                line(f"{scheme}, {subscribers}: deliveries/s", pairs, "deliveries_per_s", "deliveries_per_s")
                if subscribers == 1:
                    line(f"{scheme}: ns of CPU per publish", pairs, "cpu_ns_per_publish", "cpu_ns_per_publish")
                    line(f"{scheme}: ns of the I/O thread per message", pairs, "io_cpu_ns_per_message",
                         "cpu_ns_per_delivery")
                if lost:
                    print(f"  {lost} messages were lost")
    finally:
        if server:
            server.terminate()
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


main()
