#!/usr/bin/env python3
"""Our chat server and the Python library `broadcaster` in one room: what a chat server in Python would publish and get.

    broker redis -- python.sh chat.py SERVER
"""
import asyncio
import json
import os
import sys

from broadcaster import Broadcast

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "examples"))
from chat_help import DEADLINE, Server, enter  # noqa: E402

MESSAGES = [{"action": "message", "user": "Zoë", "message": f"{i} \"quoted\" <b> 日本 🎉"} for i in range(100)]


async def until_heard(client, subscriber):
    """The library does not say when it is subscribed: it is once something has arrived."""
    arrived = asyncio.create_task(subscriber.get())
    while not arrived.done():
        client.say("ours", "marker")
        await asyncio.wait([arrived], timeout=0.1)


async def talk(port, url):
    client = enter(port)
    async with Broadcast(url) as broadcast, broadcast.subscribe("chatroom") as subscriber:
        await until_heard(client, subscriber)
        for message in MESSAGES:
            client.say(message["user"], message["message"])
        got = []
        while len(got) < len(MESSAGES):
            event = await subscriber.get()
            if (message := json.loads(event.message))["message"] != "marker":
                got.append(message)
        assert got == MESSAGES, got
        for message in MESSAGES:
            await broadcast.publish("chatroom", json.dumps({**message, "user": "theirs"}))
    client.until(user="theirs", message=MESSAGES[0]["message"])
    for message in MESSAGES[1:]:
        client.expect("theirs", message["message"])


def main():
    url = os.environ["URL"]
    with Server(sys.argv[1], url) as server:
        asyncio.run(asyncio.wait_for(talk(server.port, url), DEADLINE))
        server.end()


main()
