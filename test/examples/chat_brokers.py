#!/usr/bin/env python3
"""Two chat servers over one broker, whichever, that goes away and comes back.

    broker KIND -- chat_brokers.py SERVER [SCHEME]

SCHEME takes the place of that of the broker's URL.
"""
import os
import sys

from chat_help import Client, Server, broker, enter, one_room, talk_again


def newcomer(server, wanted):
    client = Client(server.port)
    keeps = client.enter()[-1]["keeps"]
    got = [client.receive()["message"] for _ in range(keeps)]
    assert got == wanted[len(wanted) - keeps:], got
    client.leave()


def main():
    url = os.environ["URL"]
    if len(sys.argv) > 2:
        url = sys.argv[2] + url[url.index("://"):]
    with Server(sys.argv[1], url) as here, Server(sys.argv[1], url) as there:
        a, b = one_room(here, there)
        said = [str(i) for i in range(60)]
        for words in said:
            a.say("a", words)
        for client in a, b:
            for words in said:
                client.expect("a", words)
        newcomer(there, said)
        broker("kill")
        for client in a, b:
            assert client.until(action="state")["state"] == "lost"
        broker("start")
        for client in a, b:
            client.until(action="state", state="connected")
        talk_again(b, [a, b])
        enter(here.port).leave()
        for client in a, b:
            client.leave()
        here.end()
        there.end()


main()
