#!/usr/bin/env python3
"""The chat server with real websocket clients, over memory.   chat.py SERVER"""
import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

from chat_help import BYTES, CLOSE, DEADLINE, PING, TEXT, WHOLE, Client, Server, enter, handshake, soon

MANY = 500
HISTORY = 50


def pages(server):
    with urllib.request.urlopen(server.url, timeout=DEADLINE) as answer:
        assert b"new WebSocket" in answer.read() and answer.headers["Content-Type"].startswith("text/html")
    with urllib.request.urlopen(server.url + "rooms", timeout=DEADLINE) as answer:
        assert json.load(answer) == ["chatroom", "kitchen", "garden"]


def coming_in(server):
    client = Client(server.port)
    assert client.enter() == [{"action": "state", "state": "connected", "why": ""},
                              {"action": "welcome", "room": "chatroom", "keeps": HISTORY}]
    client.leave()
    for room in "cellar", "x" * 200, "":
        client = Client(server.port, room)
        assert [f["action"] for f in client.enter()[:-1]] == ["error"] and client.why == 1013


def everybody_sees_everything(server):
    clients = [enter(server.port) for _ in range(2)]
    senders = [threading.Thread(target=lambda c=c, n=n: [c.say(n, str(i)) for i in range(500)])
               for c, n in zip(clients, "ab")]
    for sender in senders:
        sender.start()
    seen = [[c.receive() for _ in range(1000)] for c in clients]
    for sender in senders:
        sender.join()
    assert seen[0] == seen[1], "they do not see the same"
    for name in "ab":
        said = [s["message"] for s in seen[0] if s["user"] == name]
        assert said == [str(i) for i in range(500)], "out of order"
    late = enter(server.port)
    assert [late.receive() for _ in range(HISTORY)] == seen[0][-HISTORY:], "not the last of what was said"
    clients[0].say("a", "seamless")
    late.expect("a", "seamless")
    for client in [*clients, late]:
        client.leave()


def any_text(server):
    client = enter(server.port, "kitchen")
    for words in ['"quoted" \\ /', "<b>&amp;</b><script>", "line\nfeed\ttab\x01\x7f", "grüße 日本 🎉 \u2028", "{}",
                  "x" * 60000]:
        client.say(words[:10], words)
        client.expect(words[:10], words)
    client.send('{"message": "any order", "more": [1, {}], "user": "u", "action": "message"}')
    assert set(client.receive()) == {"action", "user", "message", "at"}, "more than what makes a message was sent on"
    client.leave()


def rooms_are_apart(server):
    kitchen, garden = enter(server.port, "kitchen"), enter(server.port, "garden")
    kitchen.say("k", "for cooks")
    garden.say("g", "for gardeners")
    garden.expect("g", "for gardeners")
    kitchen.until(user="k", message="for cooks")
    kitchen.vanish()
    garden.vanish()


def bad_messages(server):
    client, other = enter(server.port, "garden"), enter(server.port, "garden")
    client.say("u", "ready")  # what was said before is behind us
    client.until(user="u", message="ready")
    good = {"action": "message", "user": "u", "message": "m"}
    for text, why in [("", "no message"), ("hello", "no message"), ("{", "no message"), ("[]", "Expected object"),
                      ("[" * 60000, "nested"), ('{"a":' * 1000, "nested"), ('"', "no message"),
                      (b'{"action":"message","user":"\xff"}', "decode byte 0xff"),
                      (b'{"action":"message","user":"u","message":"\\u0000"}', "\\u0000"),
                      ('{"action":"message","user":"u","user":"v","message":"m"}', "duplicate"),
                      (json.dumps(good) + "x", "end of file"),
                      (json.dumps({**good, "action": "state"}), "not \"message\""),
                      (json.dumps({**good, "user": 1}), "Expected string"),
                      (json.dumps({**good, "user": ""}), "name"), (json.dumps({**good, "message": ""}), "not empty"),
                      (json.dumps({**good, "user": "u" * 161}), "160 bytes"),
                      (json.dumps({"action": "message", "user": "u"}), "message"),
                      (json.dumps({**good, "message": "m" * 65536}), "65536 bytes")]:
        client.send(text)
        client.expect_error(why)
    nested = "[" * 500 + '\\"' + "{" * 500
    client.say("u", nested)
    client.expect("u", nested)
    other.until(user="u", message=nested)
    client.say("u", "and it goes on")
    client.expect("u", "and it goes on")
    other.until(user="u", message="and it goes on")
    client.vanish()
    other.vanish()


def bad_manners(server):
    for data, first, code in ("bytes", WHOLE | BYTES, 1003), ("a piece", TEXT, 1003), ("", WHOLE | CLOSE, 0):
        client = enter(server.port)
        client.send(data, first)
        assert client.until_hung_up_on() == code, client.why
    client = enter(server.port)
    client.send("are you there?", WHOLE | PING)
    client.socket.close()
    host = "Host: here:1"
    for lines, good in [((host, "Origin: http://here:1"), True), ((host, "Origin: http://there"), False),
                        ((host, "Origin: null"), False), ((host, "X: " + "x" * 30000), False)]:
        with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as connection:
            try:
                assert handshake(connection, "/chat", *lines) == good, lines
            except ConnectionError:
                assert not good


def some_leave_abruptly(server):
    stays = enter(server.port)
    for i in range(20):
        leaves = enter(server.port)
        for j in range(10):
            stays.say("b", f"{i}.{j}")
        leaves.until(user="b", message=f"{i}.0")
        leaves.vanish()  # most of it unread
        for j in range(10, 20):
            stays.say("b", f"{i}.{j}")
        stays.until(user="b", message=f"{i}.0")
        for j in range(1, 20):
            stays.expect("b", f"{i}.{j}")
    stays.leave()


def slow_ones_are_told(server):
    """More than the sockets' buffers take: the sender of the slow client is stuck, and is overtaken."""
    slow, quick, count = enter(server.port, "kitchen", small=True), enter(server.port, "kitchen"), 1500
    words = "x" * 20000
    quick.say("q", "first")
    quick.until(user="q", message="first")
    for i in range(count):
        quick.say("q", f"{i} {words}")
        quick.expect("q", f"{i} {words}")
    slow.until(user="q", message="first")
    at, gaps = 0, 0
    while at < count:
        frame = slow.receive()
        if frame["action"] == "missed":
            assert frame["exact"] is True and frame["count"] > 0
            at, gaps = at + frame["count"], gaps + 1
        else:
            assert frame["message"] == f"{at} {words}", (at, frame["message"][:10])
            at += 1
    assert gaps > 0, "how can that be?"
    quick.leave()
    slow.leave()


def full(program):
    with Server(program, "-c", "2", "memory://", "only") as server:
        first, second, third = enter(server.port, "only"), enter(server.port, "only"), Client(server.port, "only")
        assert third.enter()[0]["why"] == "This server is full." and third.why == 1013
        first.leave()
        soon(lambda: Client(server.port, "only").enter()[-1], "the place of who has left is free")
        second.say("b", "here, nothing is kept")
        second.expect("b", "here, nothing is kept")
        late = Client(server.port, "only")
        assert late.enter()[-1] in (None, {"action": "welcome", "room": "only", "keeps": 0})
        server.end(signal.SIGINT)


def hundreds(server):
    clients = [enter(server.port, "garden") for _ in range(MANY)]
    for i, client in enumerate(clients):
        if i % 5 == 0:
            client.say("crowd", str(i))
    orders = set()
    for client in clients:
        while (frame := client.receive())["user"] != "crowd":
            pass  # what was said before
        said = [frame["message"]] + [client.receive()["message"] for _ in range(MANY // 5 - 1)]
        assert sorted(said, key=int) == [str(i) for i in range(0, MANY, 5)]
        orders.add(tuple(said))
    assert len(orders) == 1, "not the same order for all"
    return clients


def stuck(server):
    """Never reads again."""
    client, other = enter(server.port, "kitchen", small=True), enter(server.port, "kitchen")
    for i in range(300):
        other.say("b", "x" * 60000)
        other.until(message="x" * 60000)
    return client, other


def usage(program):
    for words, code, part in [(["-x"], 2, "usage: "), (["-c", "0"], 2, "usage: "), (["nonsense://"], 1, "nonsense"),
                              (["-p", "nowhere"], 1, "cannot listen on port nowhere")]:
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=DEADLINE)
        assert done.returncode == code and part in done.stderr and done.stdout == "", done


def main():
    usage(sys.argv[1])
    full(sys.argv[1])
    with Server(sys.argv[1]) as server:
        for case in (pages, coming_in, everybody_sees_everything, any_text, rooms_are_apart, bad_messages, bad_manners,
                     some_leave_abruptly, slow_ones_are_told):
            case(server)
            print(case.__name__, flush=True)
        in_the_way = stuck(server)
        clients = hundreds(server)
        server.end()
        for client in clients:
            assert client.receive() is None and client.why == 1001, "no farewell"
        del in_the_way


main()
