#!/usr/bin/env python3
"""Weakens one memory ordering, or drops one wake-up, one check or one step at a time in the library's own files, and lets
the model look for it. A mutant that nobody notices is either argued away (SAME, below) or a hole in the model.

usage: mutants.py BUILD [--seconds N] [--only TEXT] [--list]

BUILD has the model in it (a build with -Dtest_hooks=true and no sanitizer). Prints a line per mutant and the score; fails
if one is not noticed that is not argued away.
"""
import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = ["ring.c", "keeper.c", "attach.c", "segment.c", "cursor.c", "wait.c", "turn.c", "reader.c", "subscription.c",
         "cursor.h", "segment.h", "base/grace.c", "publish.c", "registry.c"]

WEAKER = {"memory_order_acquire": "memory_order_relaxed", "memory_order_release": "memory_order_relaxed",
          "memory_order_acq_rel": "memory_order_relaxed", "memory_order_seq_cst": "memory_order_acq_rel"}

# What is written without an order is seq_cst.
STRONG = re.compile(r"\batomic_(load|store|exchange|fetch_add|fetch_sub|fetch_or|fetch_and)\((?=[^;]*;|[^;{]*\{|[^;]*$)")
WEAK_ORDER = {"load": "acquire", "store": "release"}

# Statements that can be left out: who wakes whom, who gives back what, which is looked at once more.
DROPS = re.compile(r"^\s*(?:bell_ring_one|bell_ring_all|waiter_ring_list|os_wake|ring_space|ring_batons|ring_passed|ring_waiting|"
                   r"ring_interrupt|pass_on|sub_attend|wake|bell_put_rung|waiter_arm|empty_limbo|keeper_reclaim|"
                   r"segment_pin_again|segment_unpin|bell_ref|grace_wait|turn_leave|settle|bell_leave|drop_rested)\(.*\);$")

# Checks, each with what makes it useless.
CHECKS = [
    ("segment.c", "segment->number, memory_order_relaxed) == number", "segment->number, memory_order_relaxed) != number + 1"),
    ("keeper.c", "if (history_needs(ring, tail, head, next) || needed_by(&ring->blocking, number))", "if (history_needs(ring, tail, head, next))"),
    ("keeper.c", "if (!segment_all_committed(head)) {", "if (false) {"),
    ("keeper.c", "if (at == current)\n        return false;", ""),
    ("keeper.c", "return state == KEEPER_NONE;", "return true;"),
    ("ring.c", "(word & WORD_SEALED) || ", ""),
    ("ring.c", "|| offset != word_offset(word))", ")"),
    ("cursor.c", "(atomic_load_explicit(&segment->references, memory_order_relaxed) & SEGMENT_RETIRED)", "true"),
    ("cursor.c", "if (!(now & STEPPING) && ", "if ("),
    ("cursor.c", "hold->state = HOLD_LEFT;\n    if (hold->events == 0)", "hold->state = HOLD_LEFT;"),
    ("wait.c", "if (!bell_has_sleepers(bell))\n        return false;", ""),
    ("wait.c", "if (!bell_has_sleepers(bell))\n        ring_batons(bell);", ""),
    ("wait.c", "if (w == own)", "if (true)"),
    ("reader.c", "if (atomic_load_explicit(&sub->attention, memory_order_relaxed) != 0) /* see bell_enter */\n        return OCCASION;", ""),
    ("reader.c", "if (atomic_load(&sub->attention) != 0)\n        atomic_store_explicit(&sub->quick, NULL, memory_order_relaxed);", ""),
    ("reader.c", "(source != NULL && !turn_rest_alone(sub, source))", "false"),
    ("reader.c", "if (!alone && (rung || (sub->shared && source != NULL)))", "if (!alone && rung)"),
]

# Which scenarios are tried first, by file; then all the others. What comes first in a list has noticed most.
FIRST = {
    "ring.c": "ring-drop room room-leave room-bell wait-two tail wait-large room-shut-down ring-history ring-unread",
    "keeper.c": "ring-drop ring-keep ring-block ring-wide room end tail",
    "attach.c": "room-leave leave-armed ring-left ring-wide wait-leave",
    "segment.c": "ring-drop ring-keep ring-wide ring-large tail end",
    "segment.h": "ring-drop",
    "cursor.c": "ring-drop ring-keep ring-workers-drop ring-large-workers ring-large ring-wide history-workers end",
    "cursor.h": "ring-drop",
    "wait.c": "wait-two wait-four wait-call-off wait-workers sleep poll-three poll poll-late add-channel cancel end poll-channels leave-armed",
    "turn.c": "wait-channels one-each-channels remove-workers remove-and-add remove-seen time-workers rest-and-remove",
    "reader.c": "wait-two one-each one-each-channels sleep sleep-workers poll busy cancel-seen disconnect-workers "
                "remove-workers",
    "subscription.c": "cancel cancel-seen add-channel remove-seen shut-down disconnect-workers",
    "base/grace.c": "names join-in",
    "publish.c": "names join-in wait-one",
    "registry.c": "names join-in end",
}

# A few that are noticed at once, and by which scenario: for the daily tests.
SAMPLE = [
    ("ring.c", "if (word & WORD_WAIT)", "without waiter_ring_list", "wait-two"),
    ("ring.c", "ring_interrupt(ring);", "without ring_interrupt", "room"),
    ("ring.c", "os_wake(&ring->space", "without os_wake", "room"),
    ("ring.c", "at, header, memory_order_release", "release -> relaxed", "ring-drop"),
    ("keeper.c", "&top, segment, memory_order_release", "release -> relaxed", "ring-drop"),
    ("keeper.c", "*at = segment->link;", "without segment_unpin", "ring-drop"),
    ("attach.c", "if (ring_all)", "without waiter_ring_list", "leave-armed"),
    ("attach.c", "ring_space(ring);", "without ring_space", "room-leave"),
    ("cursor.c", "segment_unpin(hold->segment);", "without segment_unpin", "ring-drop"),
    ("cursor.c", "uint64_t end = atomic_load_explicit(&cursor->segment->end", "acquire -> relaxed", "ring-drop"),
    ("cursor.c", "ring_passed(cursor->ring, old);", "without ring_passed", "ring-block"),
    ("wait.c", "bell_put_rung(bell, chain);", "without bell_put_rung", "wait-two"),
    ("wait.c", "list, NULL, memory_order_acq_rel", "acq_rel -> relaxed", "wait-two"),
    ("wait.c", "if (!bell_has_sleepers(bell)) ring_batons(bell);", "if (!bell_has_sleepers(bell)) ring_batons", "wait-four"),
    ("segment.h", "record_look", "acquire -> relaxed", "ring-drop"),
]

# Not to be noticed: (file, text at that place, what, which paragraph of docs/architecture.md says why).
SAME = [
    ("ring.c", "word_advance(word, need), memory_order_acquire", "acquire -> relaxed", "exchanges"),
    ("ring.c", "word | WORD_WAIT, memory_order_release", "release -> relaxed", "exchanges"),
    ("keeper.c", "WORD_SEALED, memory_order_acquire", "acquire -> relaxed", "exchanges"),
    ("wait.c", "&notifier->rings, 1); /* seq_cst against", "fetch_add", "stores"),
    ("ring.c", "it may be newer than the word", "acquire -> relaxed", "newer segments"),
    ("keeper.c", "&ring->current, segment, memory_order_release", "release -> relaxed", "newer segments"),
    ("wait.c", "if (!bell_has_sleepers(bell)) return false;", "if (!bell_has_sleepers(bell)) return false;", "batons"),
]

# Not noticed, although they change something: holes of the model. The same four words, the last says what would be seen.
OPEN = [
    # Figures of the ring out of two uses of a segment: two old values must come together, between two loads.
    ("ring.c", "struct ring_limits ring_tail(", "acquire -> relaxed", "figures"),
    ("ring.c", "&current->base, memory_order_acquire", "acquire -> relaxed", "figures"),
    ("ring.c", "&current->base_bytes, memory_order_acquire", "acquire -> relaxed", "figures"),
    ("segment.c", "&segment->base, base, memory_order_release", "release -> relaxed", "figures"),
    ("segment.c", "&segment->base_bytes, base_bytes, memory_order_release", "release -> relaxed", "figures"),
    # The bell of one that stops waiting for room is rung once more, and gone by then.
    ("ring.c", "&ring->space_ringers, 1", "fetch_add", "the last ring"),
    ("ring.c", "atomic_load(&ring->space_bell)", "load", "the last ring"),
    ("ring.c", "atomic_exchange(&ring->space_bell", "exchange", "the last ring"),
    ("ring.c", "while (atomic_load(&ring->space_ringers)", "load", "the last ring"),
    # A descriptor is used again between somebody's look at it and his pin.
    ("segment.c", "if it has become another one", "acquire -> relaxed", "the pin"),
    ("segment.c", "~(SEGMENT_RETIRED | SEGMENT_FREE), memory_order_release", "release -> relaxed", "the pin"),
    ("cursor.c", "&ring->head, memory_order_acquire", "acquire -> relaxed", "the pin"),
    ("cursor.c", "who has stepped and given", "acquire -> relaxed", "the pin"),
    ("cursor.c", "as the last one to step has left them", "acquire -> relaxed", "the pin"),
    ("cursor.c", "if (!(now & STEPPING) &&", "STEPPING", "the pin"),
    # A block of the pool goes from one ring to another, which nothing else connects: one ring only in the scenarios.
    ("segment.c", "&pool->slots[i]", "acquire -> relaxed", "the pool"),
    ("segment.c", "&pool->slots[i]", "release -> relaxed", "the pool"),
    # Only without memory, with a broker, or where a channel's name and its memory are used again.
    ("cursor.c", "if (fresh == NULL)", "without segment_unpin", "no memory"),
    ("reader.c", "gap_record_event(sub, source, event, record, claim->sequence", "without segment_unpin", "a broker"),
]


def mutants(name):
    """(line, what, text of the whole file)"""
    text = (ROOT / "lib" / name).read_text()
    code = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)

    def changed(start, end, by):
        return text[:start] + by + text[end:]

    def line(at):
        return text.count("\n", 0, at) + 1

    for order, weaker in WEAKER.items():
        for m in re.finditer(order, code):
            yield line(m.start()), f"{order[13:]} -> {weaker[13:]}", changed(m.start(), m.end(), weaker)
    for m in re.finditer(r"\batomic_(load|store|exchange|fetch_add|fetch_sub|fetch_or|fetch_and|compare_exchange_strong)\(", code):
        end = matching(code, m.end() - 1)
        if "memory_hooks" in text[m.start():end]:
            continue
        order = WEAK_ORDER.get(m.group(1), "relaxed")
        more = f", memory_order_{order}" * (2 if m.group(1).startswith("compare") else 1)
        if m.group(1).startswith("compare"):
            more = ", memory_order_relaxed, memory_order_relaxed"
        call = text[m.start():end].replace("(", "_explicit(", 1) + more
        yield line(m.start()), f"{m.group(1)}: seq_cst -> {order}", changed(m.start(), end, call)
    at = 0
    for row in code.split("\n"):
        if DROPS.match(row):
            yield line(at), f"without {row.strip()}", changed(at, at + len(row), "    ;")
        at += len(row) + 1
    for where, old, new in CHECKS:
        if where == name:
            if text.count(old) < 1:
                sys.exit(f"mutants.py: {name} has no '{old}' any more: change CHECKS")
            at = text.index(old)
            yield line(at), f"{' '.join(old.split())[:50]} -> {new[:30]}", changed(at, at + len(old), new)


def matching(code, at):
    depth = 0
    while True:
        depth += {"(": 1, ")": -1}.get(code[at], 0)
        if depth == 0:
            return at
        at += 1


class Model:
    def __init__(self, build):
        self.build = Path(build).resolve()
        commands = json.loads((self.build / "compile_commands.json").read_text())
        self.commands = {}
        for c in commands:
            if "libchecked.a.p" in c["output"]:
                self.commands[os.path.normpath(os.path.join(c["directory"], c["file"]))] = c
        self.program = self.build / "test/model/model"
        self.runtime = [str(self.build / c["output"]) for c in commands if "model.p/" in c["output"]]
        if not self.commands:
            sys.exit(f"{build} has no model: configure it with -Dtest_hooks=true and without a sanitizer")

    def compile(self, source, mutated, folder, include=None):
        c = self.commands[source]
        words = shlex.split(c["command"])
        out = str(folder / (Path(c["output"]).name))
        words[words.index("-o") + 1] = out
        words[words.index("-c") + 1] = str(mutated)
        words = without_dependencies(words)
        where = f"-I{include}" if include else None
        words[1:1] = [w for w in (where, f"-I{Path(source).parent}") if w]
        subprocess.run(words, cwd=c["directory"], check=True, capture_output=True)
        return out

    def executable(self, name, text, folder):
        lib = ROOT / "lib"
        objects = {str(self.build / c["output"]): None for c in self.commands.values()}
        if name.endswith(".c"):
            mutated = folder / Path(name).name
            mutated.write_text(text)
            source = str(lib / name)
            fresh = self.compile(source, mutated, folder)
            objects.pop(str(self.build / self.commands[source]["output"]))
            objects[fresh] = None
        else:
            (folder / "include").mkdir()
            (folder / "include" / name).write_text(text)
            objects = {}
            for source in self.commands:
                copy = folder / "include" / Path(source).name
                if "/lib/" in source:
                    copy.write_text(Path(source).read_text())
                else:
                    copy = Path(source)
                objects[self.compile(source, copy, folder, folder / "include")] = None
        program = folder / "model"
        subprocess.run(["cc", *objects, *self.runtime, "-o", str(program), "-pthread", "-ldl"], check=True,
                       capture_output=True)
        return program


def without_dependencies(words):
    """The compiler is not to write a file of what was included."""
    result, i = [], 0
    while i < len(words):
        if words[i] in ("-MF", "-MQ"):
            i += 1
        elif words[i] not in ("-MD", "-Werror"):
            result.append(words[i])
        i += 1
    return result


def run_one(program, scenario, seconds):
    """What it found, or None."""
    command = [str(program), "--seconds", str(seconds), "--random-seconds", str(seconds * 0.6), scenario]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20 + 4 * seconds)
    except subprocess.TimeoutExpired:
        return f"{scenario}: it does not end"
    if run.returncode == 0:
        return None
    found = re.search(r"^(\S+): FAILED[^:]*: (.*)$", run.stdout, re.M)
    return f"{found.group(1)}: {found.group(2)}" if found else f"{scenario}: it ends with {run.returncode}"


def notice(program, name, scenarios, rounds):
    """Who noticed it, or None: the likely ones in the first round, then all of them."""
    first = [s for s in FIRST.get(name, "").split() if s in scenarios]
    order = first + [s for s in scenarios if s not in first]
    for i, seconds in enumerate(rounds):
        for scenario in first if i == 0 else order:
            found = run_one(program, scenario, seconds)
            if found:
                return found
    return None


def listed(table, name, line, what, text):
    """The reason why it is in the table, or None."""
    place = " ".join(" ".join(text.split("\n")[max(line - 4, 0):line + 1]).split())
    return next((why for file, part, change, why in table if file == name and part in place and change in what), None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--seconds", default="0.4,2", help="for each scenario, in one round after the other: the likely ones, then all")
    parser.add_argument("--only", default="", help="mutants whose description contains this")
    parser.add_argument("--after", metavar="LOG", action="append", default=[],
                        help="leave out what was noticed in this output of another run")
    parser.add_argument("--sample", action="store_true", help="only a few, each with the scenario that notices it")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    model = Model(arguments.build)
    rounds = [float(s) for s in arguments.seconds.split(",")]
    before = {m.group(1) for log in arguments.after
              for m in re.finditer(r"^noticed +(lib/.*?) *\[.*\]$", Path(log).read_text(), re.M)}
    scenarios = subprocess.run([str(model.program), "--list"], capture_output=True, text=True, check=True).stdout.split()
    noticed, missed, argued, known = 0, [], 0, 0
    for name in FILES:
        for line, what, text in mutants(name):
            mutant = f"lib/{name}:{line}: {what}"
            original = (ROOT / "lib" / name).read_text()
            chosen = listed(SAMPLE, name, line, what, original) if arguments.sample else None
            if arguments.sample and not chosen:
                continue
            if arguments.only not in mutant :
                continue
            if mutant.rstrip() in before:
                noticed += 1
                continue
            if arguments.list:
                print(mutant)
                continue
            reason = listed(SAME, name, line, what, original)
            hole = listed(OPEN, name, line, what, original)
            with tempfile.TemporaryDirectory() as folder:
                try:
                    program = model.executable(name, text, Path(folder))
                except subprocess.CalledProcessError as error:
                    sys.exit(f"{mutant} does not compile: {(error.stderr or b'').decode()}")
                by = run_one(program, chosen, 10) if chosen else notice(program, name, scenarios, rounds[:1] if reason or hole else rounds)
            if by:
                noticed += 1
            elif reason:
                argued += 1
            elif hole:
                known += 1
            else:
                missed.append(mutant)
            word = "noticed " if by else "the same" if reason else "known   " if hole else "MISSED  "
            print(f"{word}  {mutant}   [{by or reason or hole or ''}]", flush=True)
    print(f"{noticed + argued + known + len(missed)} mutants: {noticed} noticed, {argued} change nothing, "
          f"{known} known not to be noticed, {len(missed)} missed")
    short = arguments.sample and noticed < len(SAMPLE)
    if short:
        print(f"SAMPLE has {len(SAMPLE)}: change it with the code")
    return 1 if missed or short else 0


sys.exit(main())
