#!/usr/bin/env python3
"""Who may know whom: every #include "..." under lib/, and every #include <...> of the command, must be one of these.
See docs/architecture.md.

usage: layers.py ROOT | layers.py --self-test
"""
import re
import sys
import tempfile
from pathlib import Path

PUBLIC = {"broadcaster/broadcaster.h", "broadcaster/backend.h"}

NET = set()  # the headers of lib/net

# A file may include its own header, base/, the public headers, and what is named here.
KNOWS = {
    "ring": {"segment", "wait", "cursor", "word", "keeper"},
    "keeper": {"ring", "cursor", "word"},
    "attach": {"keeper", "cursor", "word"},
    "segment": set(),
    "wait": set(),
    "word": set(),
    "cursor": {"ring", "word"},
    "channel": {"ring"},
    "registry": {"channel"},
    "shared": {"registry"},
    "url": set(),
    "extra": set(),
    "backends": {"backends_config", "options"},
    "options": {"broadcast", "cursor"},
    "outbound": {"channel", "cursor", "registry", "extra"},
    "topic": {"channel", "segment"},
    "io_thread": {"broadcast", "io"},
    "io": {"io_thread", "outbound", "topic"},
    "io_in": {"io", "extra"},
    "io_fetch": {"io"},
    "io_feed": {"io", "cursor", "marks"},
    "marks": set(),
    "io_out": {"io"},
    "io_topics": {"io"},
    "broadcast": {"registry", "url", "backends", "io_thread", "options", "shared", "subscription"},
    "publish": {"broadcast", "extra", "io_thread", "options"},
    "subscription": {"broadcast", "cursor", "options", "io_thread", "history", "marks", "past", "position", "sources"},
    "past": {"subscription", "io_thread", "marks", "position", "sources"},
    "sources": {"subscription"},
    "position": set(),
    "history": {"book", "broadcast", "event", "options", "pages", "position"},
    "book": {"event", "extra"},
    "pages": {"book", "broadcast", "io", "marks"},
    "turn": {"subscription"},
    "reader": {"turn", "subscription", "event", "marks"},
    "event": {"channel", "subscription"},
}


def complaints(root):
    lib = root / "lib"
    NET.update(header.name for header in (lib / "net").glob("*.h"))
    for file in sorted(lib.rglob("*.[ch]")):
        where = file.relative_to(lib)
        if where.parts[0] == "tool":
            yield from complaints_of_tool(root, file)
            continue
        for include in re.findall(r'^\s*#\s*include\s+"([^"]+)"', file.read_text(), re.M):
            why = refused(where, include)
            if why:
                yield f"lib/{where} includes {include}: {why}"


def complaints_of_tool(root, file):
    """The command is a program like any other: the public header, the system's, its own, and the shared benchmark."""
    own = {header.name for header in (root / "lib/tool").glob("*.h")} | {"fanout.h"}
    for bracket, include in re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', file.read_text(), re.M):
        inside = (root / "lib" / include).exists() or include.startswith(("broadcaster/", "."))
        good = include in own if bracket == '"' else include == "broadcaster/broadcaster.h" or not inside
        if not good:
            yield f"{file.relative_to(root)} includes {include}: the command knows <broadcaster/broadcaster.h> only"


def refused(where, include):
    folder = where.parts[0] if len(where.parts) > 1 else ""
    if folder == "base":
        good = include.startswith("base/") or include in PUBLIC
        return None if good else "base knows libc and itself"
    if folder == "net":
        good = include in PUBLIC or include.startswith("base/") or include in NET
        return None if good else "net knows base, backend.h and itself"
    if folder == "backend":
        good = include in PUBLIC or include.startswith(("base/", "net"))
        return None if good else "a backend knows backend.h, base, net and its client library"
    if include in PUBLIC or include.startswith("base/"):
        if include in PUBLIC and where.stem in ("ring", "segment", "wait", "word", "cursor", "channel"):
            return "the ring knows base and wait, not the public API"
        return None
    name = include.removesuffix(".h")
    if where.stem not in KNOWS:
        return "this file is not in the table of layers"
    if name == where.stem or name in KNOWS[where.stem]:
        return None
    return f"{where.stem} may know {', '.join(sorted(KNOWS[where.stem])) or 'nobody'}"


def self_test():
    cases = [
        ("ring.c", '"subscription.h"'), ("ring.c", '"broadcaster/broadcaster.h"'), ("base/clock.c", '"ring.h"'),
        ("backend/memory.c", '"ring.h"'), ("io_thread.c", '"backend/memory.h"'), ("newcomer.c", '"ring.h"'),
        ("wait.c", '"ring.h"'), ("net/stream.c", '"ring.h"'), ("net/stream.c", '"backend/redis.h"'), ("backend/memory.c", '"backend/redis.h"'),
        ("tool/sub.c", '"ring.h"'), ("tool/sub.c", '"../ring.h"'), ("tool/sub.c", "<url.h>"), ("tool/sub.c", "<../url.h>"),
        ("tool/sub.h", '"base/error.h"'), ("tool/sub.c", "<base/error.h>"), ("tool/sub.c", '"broadcaster/broadcaster.h"'),
        ("tool/sub.c", "<broadcaster/backend.h>"),
    ]
    for where, include in cases:
        with tempfile.TemporaryDirectory() as folder:
            for name in ("url.h", "base/error.h", where):
                file = Path(folder) / "lib" / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
            file.write_text(f"#include {include}\n")
            if not list(complaints(Path(folder))):
                sys.exit(f"lib/{where} may include {include}, and should not")
    print(f"{len(cases)} forbidden includes were noticed")


def main():
    if sys.argv[1] == "--self-test":
        return self_test()
    found = list(complaints(Path(sys.argv[1])))
    print("\n".join(found) or "every include keeps to its layer")
    sys.exit(bool(found))


main()
