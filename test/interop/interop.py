#!/usr/bin/env python3
"""Talks with the Python library `broadcaster` over a real broker, both ways: exact bytes, in order.

    interop.py TOOL KIND [URL] [--only TEXT]

TOOL is our command; KIND a line of the table below, and the scheme of the URL ($URL unless given) for both sides.
"""
import argparse
import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager

from broadcaster import Broadcast

# What the broker, and the Python library over it, carry. Python decodes whatever it receives: only UTF-8 is sent to it.
KINDS = {
    "redis": {
        "largest": 1 << 20,  # bytes of a message
        "empty": True,
        "nul": True,
        "bytes": True,  # Python can publish what is not UTF-8
        "one_order": True,  # all subscribers of a channel see several publishers' messages in the same order
        "channels": ["two words", "grüße/日本 🎉", " around ", "h[a]?*", "\"it's\" \\n", "-", "x" * 1000],
    },
    "redis-stream": {
        "largest": 1 << 20,
        "empty": True,
        "nul": True,
        "bytes": True,
        "one_order": True,
        "channels": ["two words", "grüße/日本 🎉", "h[a]?*", "\"it's\" \\n", "x" * 1000],
    },
    "postgres": {
        "largest": 7999,
        "empty": True,
        "nul": False,
        "bytes": False,
        "one_order": True,
        "channels": ["two words", "grüße/日本 🎉", "h[a]?*", "\"it's\" \\n", "x" * 63],
    },
    "kafka": {
        "largest": 500000,
        "empty": True,
        "nul": True,
        "bytes": False,  # Python encodes what it publishes
        "made_first": True,  # Python can only subscribe to a topic that is there
        "one_order": True,  # of the one partition that topics have when the broker makes them
        "channels": ["a.b_c-D", "x" * 200],
    },
}

DEADLINE = 60  # seconds, for anything; nothing else depends on time
MARKER, END = "marker of interop.py", "end of interop.py"

ASCII = ["hello", "a", " ", " spaces  around ", "%s %m %% $HOME ~", "-c", "x" * 1000] + [chr(c) for c in range(1, 128)]
UTF8 = ["grüße", "日本語", "\u0080\u07ff\u0800\uffff\U00010000\U0010ffff", "🎉", "👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈", "e\u0301", "\ufeffmark", "שלום"]
LINES = ["a\nb", "\n", "\n\n", "\r\n", "one\r\ntwo\r\n", "\r", '"', "'", "\"it's\"", '{"a": "\\n"}', "\\", "\\r\\n", "tab\t"]


class Difference(Exception):
    pass


def show(message):
    return f"{message[:60]!r}{f'... of {len(message)} bytes' if len(message) > 60 else ''}"


def compare(who, got, wanted):
    for i, (have, want) in enumerate(zip(got, wanted)):
        if have != want:
            raise Difference(f"{who}: message {i + 1} is {show(have)}, not {show(want)}")
    if len(got) != len(wanted):
        raise Difference(f"{who}: {len(got)} messages, not {len(wanted)}")


def encode(messages):
    return [m if isinstance(m, bytes) else m.encode() for m in messages]


class Ours:
    """The C side, through the command."""

    def __init__(self, tool, url):
        self.tool, self.url = tool, url

    async def run(self, words, given):
        process = await asyncio.create_subprocess_exec(self.tool, *words, stdin=asyncio.subprocess.PIPE,
                                                       stderr=asyncio.subprocess.PIPE)
        said = (await process.communicate(given))[1].decode()
        if process.returncode != 0 or said:
            raise Difference(f"broadcaster {words[0]}: exit code {process.returncode}: {said}")

    async def publish(self, channel, messages):
        messages = encode(messages)
        where = [self.url, "--", channel]
        if any(b"\0" in m for m in messages):
            for message in messages:
                await self.run(["pub", "--file", "-", *where], message)
        else:
            await self.run(["pub", "--null", *where], b"".join(m + b"\0" for m in messages))

    @asynccontextmanager
    async def subscriber(self, channel, count):
        """Yields what awaits `count` messages, and END; until it says ready, nothing is promised to arrive."""
        process = await asyncio.create_subprocess_exec(
            self.tool, "sub", "-c", str(count + 1), "-f", "%S %c\\n%m", self.url, "--", channel,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        try:
            said = await process.stderr.readline()
            if said != b"ready\n":
                raise Difference(f"broadcaster sub: {(said + await process.stderr.read()).decode()}")
            out = asyncio.create_task(process.stdout.read())

            async def take():
                messages = self.parse(await out, channel)
                more = (await process.stderr.read()).decode()
                if await process.wait() != 0 or more:
                    raise Difference(f"broadcaster sub: exit code {process.returncode}: {more}")
                return messages[:-1] if messages[-1] == END.encode() else messages

            yield take
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    @staticmethod
    def parse(out, channel):
        messages, at = [], 0
        while at < len(out):
            line = out.index(b"\n", at)
            size, _, name = out[at:line].partition(b" ")
            if name != channel.encode():
                raise Difference(f"broadcaster sub: the channel is {name!r}, not {channel!r}")
            at = line + 1 + int(size)
            messages.append(out[line + 1:at])
        return messages


class Theirs:
    """The Python library."""

    def __init__(self, url, made_first):
        self.url, self.made_first = url, made_first

    async def publish(self, channel, messages):
        async with Broadcast(self.url) as broadcast:
            for message in messages:
                await broadcast.publish(channel, message)

    @asynccontextmanager
    async def subscriber(self, channel, count):
        """Likewise. The library does not say when it is subscribed: it is once something has arrived."""
        async with Broadcast(self.url) as broadcast:
            if self.made_first:
                await broadcast.publish(channel, MARKER)
            async with broadcast.subscribe(channel) as subscriber:
                async def next_one():
                    event = await subscriber.get()
                    if event.channel != channel:
                        raise Difference(f"Python: the channel is {event.channel!r}, not {channel!r}")
                    return event.message

                arrived = asyncio.create_task(next_one())
                while not arrived.done():
                    await broadcast.publish(channel, MARKER)
                    await asyncio.wait([arrived], timeout=0.1)
                await arrived

                async def take():
                    messages = []
                    while (message := await next_one()) != END:
                        if message != MARKER:
                            messages.append(message.encode())
                    return messages

                yield take


class Test:
    def __init__(self, tool, kind, url):
        self.carries = KINDS[kind]
        self.ours, self.theirs = Ours(tool, url), Theirs(url, self.carries.get("made_first"))
        self.channels = 0

    def channel(self):
        self.channels += 1
        return f"interop-{os.getpid()}-{self.channels}"

    async def one_way(self, publisher, receiver, messages, channel):
        async with receiver.subscriber(channel, len(messages)) as take:
            await publisher.publish(channel, [*messages, END])
            compare(f"{type(publisher).__name__} to {type(receiver).__name__}", await take(), encode(messages))

    async def both_ways(self, messages, channel=None):
        for publisher, receiver in (self.theirs, self.ours), (self.ours, self.theirs):
            await self.one_way(publisher, receiver, messages, channel or self.channel())

    async def ascii(self):
        await self.both_ways(ASCII)

    async def utf8(self):
        await self.both_ways(UTF8)

    async def lines(self):
        await self.both_ways(LINES)

    async def empty(self):
        await self.both_ways(["", "x", "", ""])

    async def nul(self):
        await self.both_ways(["a\0b", "\0", "\0\0", "end\0"])

    async def bytes(self):
        invalid = [bytes(range(256)), b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"ok"]
        await self.one_way(self.theirs, self.ours, invalid, self.channel())

    async def large(self):
        size = self.carries["largest"]
        await self.both_ways(["x" * size, "🎉" * (size // 4), "0123456789abcde\n" * (size // 16), "small"])

    async def many(self):
        await self.both_ways([f"message {i}" for i in range(5000)])

    async def names(self):
        for channel in self.carries["channels"]:
            await self.both_ways(["one", "two"], channel)

    async def everybody(self):
        """Two publishers at once; two subscribers of each side get everything."""
        channel, count = self.channel(), 1000
        python, c = ([f"{who} {i}" for i in range(count)] for who in ("Python", "C"))
        async with AsyncExitStack() as stack:
            takes = [await stack.enter_async_context(side.subscriber(channel, 2 * count))
                     for side in (self.theirs, self.theirs, self.ours, self.ours)]
            await asyncio.gather(self.theirs.publish(channel, python), self.ours.publish(channel, c))
            await self.ours.publish(channel, [END])
            all_got = await asyncio.gather(*(take() for take in takes))
        for number, got in enumerate(all_got):
            who = f"subscriber {number + 1}"
            compare(f"{who}, of Python's", [m for m in got if m.startswith(b"P")], encode(python))
            compare(f"{who}, of C's", [m for m in got if m.startswith(b"C")], encode(c))
            compare(who, sorted(got), sorted(encode(python + c)))
            if self.carries["one_order"]:
                compare(f"{who}, beside the first", got, all_got[0])

    def cases(self):
        optional = [name for name in ("empty", "nul", "bytes") if self.carries[name]]
        return ["ascii", "utf8", "lines", *optional, "large", "many", "names", "everybody"]


async def run(test, name):
    begin, why = time.monotonic(), None
    try:
        await asyncio.wait_for(getattr(test, name)(), DEADLINE)
    except Difference as difference:
        why = str(difference)
    except asyncio.TimeoutError:
        why = f"not over after {DEADLINE} s"
    except Exception as error:
        why = repr(error)
    print("FAILED" if why else "PASSED", name, round((time.monotonic() - begin) * 1000), "ms", flush=True)
    if why:
        print(f"  {why}", flush=True)
    return why is None


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tool")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("url", nargs="?", default=os.environ.get("URL"))
    parser.add_argument("--only", default="")
    words = parser.parse_args()
    if not words.url:
        parser.error("give a URL, or set $URL")
    test = Test(words.tool, words.kind, words.kind + words.url[words.url.index("://"):])
    results = [await run(test, name) for name in test.cases() if words.only in name]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if results and all(results) else 1


sys.exit(asyncio.run(main()))
