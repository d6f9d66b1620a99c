#!/usr/bin/env python3
"""The chat server with real websocket clients.   chat.py SERVER

Everything waits for its condition, at most DEADLINE seconds.
"""
import base64
import hashlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request

DEADLINE = 30
TEXT, CLOSE = 1, 8


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self.buffer = b""
        key = base64.b64encode(os.urandom(16)).decode()
        head = handshake(self.socket, key)
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        assert head.startswith(b"HTTP/1.1 101") and b"Sec-WebSocket-Accept: " + accept in head, head

    def send(self, text, first=0x80 | TEXT):
        data, mask = text.encode(), os.urandom(4)
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

    def take(self, size):
        while len(self.buffer) < size:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError
            self.buffer += more
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def receive(self):
        """The next text; None: the server hung up."""
        try:
            first, size = self.take(2)
            if size == 126:
                (size,) = struct.unpack("!H", self.take(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self.take(8))
            text = self.take(size)
        except (EOFError, ConnectionResetError):
            return None
        if first == 0x80 | CLOSE:
            return None
        assert first == 0x80 | TEXT, first
        return text.decode()

    def expect(self, text):
        got = self.receive()
        assert got == text, f"{got!r:.100}, not {text!r:.100}"

    def vanish(self):
        """Without a farewell: the server gets a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def handshake(connection, key):
    connection.sendall((
        "GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)  # no more than the head: a message may follow at once
        if not byte:
            break
        head += byte
    return head


def say(user, text):
    return f'{{"action":"message","user":"{user}","message":"{text}"}}'


def both_see_everything(port):
    a, b = Client(port), Client(port)
    senders = [threading.Thread(target=lambda c=c, n=n: [c.send(say(n, i)) for i in range(500)])
               for c, n in ((a, "a"), (b, "b"))]
    for sender in senders:
        sender.start()
    seen = [[c.receive() for _ in range(1000)] for c in (a, b)]
    for sender in senders:
        sender.join()
    assert seen[0] == seen[1], "they do not see the same"
    for name in "ab":
        assert [s for s in seen[0] if f'"user":"{name}"' in s] == [say(name, i) for i in range(500)], "out of order"
    large = say("a", "ä" * 100000)
    a.send(large)
    a.expect(large)
    b.expect(large)
    return a, b


def one_leaves_abruptly(port, stays):
    for i in range(20):
        leaves = Client(port)
        for j in range(10):
            stays.send(say("b", f"{i}.{j}"))
        leaves.expect(say("b", f"{i}.0"))
        leaves.vanish()  # most of it unread
        for j in range(10, 20):
            stays.send(say("b", f"{i}.{j}"))
        for j in range(20):
            stays.expect(say("b", f"{i}.{j}"))


def hung_up_on(port, what, first):
    client = Client(port)
    client.send(what, first)
    while client.receive() is not None:
        pass


def bad_manners(port):
    hung_up_on(port, "bytes", 0x80 | 2)
    hung_up_on(port, "a piece", TEXT)
    hung_up_on(port, "", 0x80 | CLOSE)
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as connection:
        assert b" 101 " not in handshake(connection, "k" * 300)


def who_does_not_read(port, stays):
    """More than the sockets' buffers take: the sender of that client is stuck in its write."""
    stuck = Client(port)
    for _ in range(300):
        stays.send(say("b", "x" * 65536))
        assert stays.receive() is not None
    return stuck


def page_is_served(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=DEADLINE) as answer:
        assert b"new WebSocket" in answer.read()


def ends(server):
    server.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, errors = server.communicate(timeout=DEADLINE)
    assert server.returncode == 0 and errors == "" and out == "", (server.returncode, out, errors)
    print(f"ended {time.monotonic() - began:.1f} s after SIGINT")


def main():
    server = subprocess.Popen([sys.argv[1], "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert select.select([server.stdout], [], [], DEADLINE)[0], "it does not say where it listens"
        port = int(server.stdout.readline().rsplit(":", 1)[1].strip(" /\n"))
        page_is_served(port)
        a, b = both_see_everything(port)
        a.vanish()
        one_leaves_abruptly(port, b)
        bad_manners(port)
        stuck = who_does_not_read(port, b)
        ends(server)
        assert b.receive() is None
        del stuck
    finally:
        server.kill()
        server.wait()


main()
