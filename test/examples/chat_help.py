"""For the tests of the chat: its server, websocket clients that speak for themselves, and the broker that a test runs
beside. Everything waits for its condition, at most DEADLINE seconds."""
import base64
import hashlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import threading
import time

DEADLINE = 60
TEXT, BYTES, CLOSE, PING, PONG = 1, 2, 8, 9, 10
WHOLE = 0x80


class Server:
    """The chat server; the errors that it prints are the test's."""

    def __init__(self, program, *words):
        self.process = subprocess.Popen([program, "-p", "0", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)

    def __enter__(self):
        assert select.select([self.process.stdout], [], [], DEADLINE)[0], "it does not say where it listens"
        line = self.process.stdout.readline()
        assert line, self.process.communicate(timeout=DEADLINE)
        self.url = line.strip()
        self.port = int(self.url.rsplit(":", 1)[1].strip("/"))
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        out, errors = self.process.communicate(timeout=DEADLINE)
        assert (self.process.returncode, out, errors) == (0, "", ""), (self.process.returncode, out, errors)


def handshake(connection, path, *more):
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}",
             "Sec-WebSocket-Version: 13", *more, "", ""]
    connection.sendall("\r\n".join(lines).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)  # no more than the head: a frame may follow at once
        if not byte:
            break
        head += byte
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
    return head.startswith(b"HTTP/1.1 101") and b"Sec-WebSocket-Accept: " + accept in head


class Client:
    def __init__(self, port, room="chatroom", small=False):
        self.socket = socket.socket()
        self.socket.settimeout(DEADLINE)
        if small:  # takes little that it has not asked for
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        self.buffer, self.why = b"", None
        assert handshake(self.socket, f"/chat?room={room}", "Host: localhost")

    def send(self, text, first=WHOLE | TEXT):
        data, mask = text if isinstance(text, bytes) else text.encode(), os.urandom(4)
        size = len(data)
        if size < 126:
            head = struct.pack("!BB", first, 0x80 | size)
        elif size < 65536:
            head = struct.pack("!BBH", first, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", first, 0x80 | 127, size)
        wide = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        masked = (int.from_bytes(data, "big") ^ wide).to_bytes(size, "big")
        self.socket.sendall(head + mask + masked)

    def say(self, user, words):
        self.send(json.dumps({"action": "message", "user": user, "message": words}))

    def take(self, size):
        while len(self.buffer) < size:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError
            self.buffer += more
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def receive(self):
        """The next frame; None: the server has hung up, and `why` has the code, if it said one."""
        until = time.monotonic() + DEADLINE  # of its own: pings keep the socket's time-out from striking
        try:
            while True:
                assert time.monotonic() < until, "nothing came"
                first, size = self.take(2)
                if size == 126:
                    (size,) = struct.unpack("!H", self.take(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", self.take(8))
                data = self.take(size)
                if first == WHOLE | CLOSE:
                    self.why = struct.unpack("!H", data[:2])[0] if data else 0
                    return None
                if first == WHOLE | TEXT:
                    return json.loads(data)
                assert first == WHOLE | PING, first
                self.send(data, WHOLE | PONG)
        except (EOFError, ConnectionError):
            return None

    def enter(self):
        """What is said before one is in."""
        frames = []
        while not frames or frames[-1] is not None and frames[-1]["action"] != "welcome":
            frames.append(self.receive())
        return frames

    def expect(self, user, words):
        got = self.receive()
        assert got is not None, f"hung up on, not {words!r:.100}"
        assert got["action"] == "message", f"{got}, not {words!r:.100}"
        assert (got["user"], got["message"]) == (user, words), f"{got!r:.200}, not {words!r:.100}"

    def expect_error(self, part):
        got = self.receive()
        assert got["action"] == "error" and part in got["why"], (got, part)

    def until(self, **wanted):
        """The next frame that has these members; those before it are skipped."""
        end = time.monotonic() + DEADLINE
        while True:
            got = self.receive()
            assert time.monotonic() < end, f"never came: {wanted}"
            assert got is not None, f"hung up on, not {wanted}"
            if all(name in got and got[name] == value for name, value in wanted.items()):
                return got

    def until_hung_up_on(self):
        while self.receive() is not None:
            pass
        return self.why

    def leave(self):
        self.send(struct.pack("!H", 1000), WHOLE | CLOSE)
        assert self.until_hung_up_on() == 1000
        self.socket.close()

    def vanish(self):
        """Without a farewell: the server gets a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def enter(port, room="chatroom", **more):
    client = Client(port, room, **more)
    assert client.enter()[-1] is not None
    return client


def broker(word):
    """kill, start and so on: the server that test/broker/main.c has started for us."""
    with open(os.environ["BROKER_CONTROL"], "w") as control:
        control.write(word + "\n")
    with open(os.environ["BROKER_ANSWER"]) as answer:
        assert answer.readline() == "ok\n", word


def soon(condition, what):
    until = time.monotonic() + DEADLINE
    while not (result := condition()):
        assert time.monotonic() < until, f"never happened: {what}"
        time.sleep(0.02)
    return result


def one_room(here, there):
    """Two servers: a client of each says something, both get all of it."""
    a, b = enter(here.port), enter(there.port)
    for i in range(200):
        (a, b)[i % 2].say("ab"[i % 2], str(i))
    seen = [[(f["user"], f["message"]) for f in (c.receive() for _ in range(200))] for c in (a, b)]
    assert seen[0] == seen[1], "they do not see the same"
    for name, first in ("a", 0), ("b", 1):
        assert [w for n, w in seen[0] if n == name] == [str(i) for i in range(first, 200, 2)], "out of order"
    return a, b


def talk_again(speaker, listeners):
    """Many brokers forget: what is said before both servers are subscribed again is gone. So it is said until heard."""
    heard = []

    def listen(client):
        client.until(user="b", message="here again")
        heard.append(client)

    def say():
        speaker.say("b", "here again")
        return len(heard) == len(listeners)

    for client in listeners:
        threading.Thread(target=listen, args=[client], daemon=True).start()
    soon(say, "they hear each other again")
