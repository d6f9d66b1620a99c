#!/usr/bin/env python3
"""Two chat servers over one Redis, other programs in the same room, and a Redis that goes away and comes back.

    broker redis -- chat_redis.py SERVER
"""
import os
import socket
import sys
from urllib.parse import urlsplit

from chat_help import DEADLINE, Client, Server, broker, enter, one_room, talk_again


class Stranger:
    """Speaks to Redis without the library."""

    def __init__(self, url):
        where = urlsplit(url)
        self.socket = socket.create_connection((where.hostname, where.port), DEADLINE)
        self.lines = self.socket.makefile("rb")

    def command(self, *words):
        words = [w if isinstance(w, bytes) else w.encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        return self.answer()

    def answer(self):
        line = self.lines.readline()
        if line[:1] == b"*":
            return [self.answer() for _ in range(int(line[1:]))]
        if line[:1] == b"$":
            return self.lines.read(int(line[1:]) + 2)[:-2]
        assert line[:1] in b"+:", line
        return line[1:-2]


def strangers(a, b, url):
    listens, talks = Stranger(url), Stranger(url)
    assert listens.command("subscribe", "chatroom")[0] == b"subscribe"
    b.say("b", 'grüße "alle"')
    a.expect("b", 'grüße "alle"')
    b.expect("b", 'grüße "alle"')
    exactly = '{"action":"message","user":"b","message":"grüße \\"alle\\""}'.encode()
    assert listens.answer() == [b"message", b"chatroom", exactly]
    talks.command("publish", "chatroom", '{"action": "message", "user": "stranger", "message": "spaces between"}')
    for odd in (b"hello", b"", b"\xff\xfe", b"[" * 5000, b'{"action":"state","state":"lost","why":""}', b"x" * 100000,
                b'{"action":"message","user":"x","message":"\xc3"}', b'{"action":"missed","count":5,"exact":true}'):
        talks.command("publish", "chatroom", odd)
    talks.command("publish", "chatroom", '{"action":"message","user":"stranger","message":"and out"}')
    for client in a, b:
        client.expect("stranger", "spaces between")
        for _ in range(8):
            client.expect_error("Something else than a message")
        client.expect("stranger", "and out")


def restart(a, b, server):
    broker("kill")
    for client in a, b:
        frames = [client.receive(), client.receive()]
        frames.sort(key=lambda frame: frame["action"])
        assert frames[0] == {"action": "missed", "count": None, "exact": False}, frames
        assert (frames[1]["action"], frames[1]["state"]) == ("state", "lost") and frames[1]["why"], frames
    newcomer = Client(server.port)
    frames = newcomer.enter()
    assert [f["action"] for f in frames[:2]] == ["state", "error"] and frames[0]["state"] != "connected", frames
    assert newcomer.why == 1013
    broker("start")
    for client in a, b:
        client.until(action="state", state="connected")
    talk_again(b, [a, b])


def who_may_not_publish(program, url):
    """Redis says so only when the publish has long returned. Who wrote it is told, and nobody else."""
    where = urlsplit(url)
    Stranger(url).command("acl", "setuser", "quiet", "on", ">word", "~*", "&*", "+@all", "-publish")
    with Server(program, f"redis://quiet:word@{where.hostname}:{where.port}") as server:
        writes, reads = enter(server.port), enter(server.port)
        writes.say("w", "in vain")
        writes.expect_error("A message of yours may not have arrived")
        Stranger(url).command("publish", "chatroom", '{"action":"message","user":"s","message":"next"}')
        reads.expect("s", "next")
        server.end()


def main():
    program, url = sys.argv[1], os.environ["URL"]
    who_may_not_publish(program, url)
    with Server(program, url) as here, Server(program, url) as there:
        late = Client(here.port)
        assert late.enter()[-1] == {"action": "welcome", "room": "chatroom", "keeps": 0}
        late.leave()
        a, b = one_room(here, there)
        strangers(a, b, url)
        restart(a, b, here)
        here.end()
        assert a.until_hung_up_on() == 1001
        b.say("b", "alone now")
        b.until(user="b", message="alone now")
        there.end()


main()
