#!/usr/bin/env python3
"""The page of the chat, in Chromium.

    broker redis -- chat_page.py SERVER
"""
import os
import sys

from chat_help import Server, broker, enter
from webdriver import ENTER, TAB, Driver

LINES = "return [...document.querySelectorAll('#log p')].map(line => line.innerText)"
SAID = """return [...document.querySelectorAll('#log p:not(.note)')].map(
    line => [line.querySelector('b').textContent, line.lastChild.textContent])"""


def join(page, url, name, room="chatroom"):
    page.open(url)
    page.until("return document.querySelectorAll('#room option').length === 3")
    page.run("document.querySelector('#name').value = ''")  # which may be remembered
    page.type("#name", name)
    page.run("document.querySelector('#room').value = arguments[0]", room)
    page.click("#join button")
    page.until("return document.title === arguments[0] && document.querySelector('#log').isConnected", room)


def say(page, words):
    page.type("#words", words + ENTER)


def wait_for(page, words):
    page.until("return [...document.querySelectorAll('#log p')].some(line => line.textContent.includes(arguments[0]))",
               words)


def conversation(ann, ben, url):
    join(ann, url, "Ann")
    join(ben, url, "Ben")
    for i in range(10):
        say(ann, f"from Ann {i}")
        say(ben, f"from Ben {i}")
    for page in ann, ben:
        page.until("return document.querySelectorAll('#log p:not(.note)').length === 20")
    said = [page.run(SAID) for page in (ann, ben)]
    assert said[0] == said[1], said
    for name in "Ann", "Ben":
        assert [words for user, words in said[0] if user == name] == [f"from {name} {i}" for i in range(10)], said[0]
    assert ann.run("return document.querySelectorAll('#log p.mine').length") == 10
    assert ann.run("return document.querySelector('#words').value") == ""
    return said[0]


def latecomer(late, url, said):
    join(late, url, "Cleo")
    late.until("return document.querySelectorAll('#log p').length === arguments[0]", len(said))
    assert late.run(SAID) == said
    assert late.run("return document.querySelector('#log').scrollTop > 0"), "not at the newest message"


def markup(ann, ben):
    evil = "<img src=x onerror=\"document.title='stolen'\"><b>bold</b> & <script>document.title='stolen'</script>"
    say(ann, evil)
    wait_for(ben, evil)
    for page in ann, ben:
        assert page.run("return document.querySelectorAll('#log img, #log script, #log b b').length") == 0
        assert page.run(SAID)[-1] == ["Ann", evil] and page.run("return document.title") == "chatroom"


def rooms(ann, ben, url):
    join(ben, url, "Ben", "kitchen")
    say(ben, "anybody cooking?")
    wait_for(ben, "anybody cooking?")
    say(ann, "still here")
    wait_for(ann, "still here")
    assert not any("cooking" in line for line in ann.run(LINES)), "heard next door"
    assert ben.run("return location.search") == "?room=kitchen"
    ben.click("#leave")
    assert ben.run("return document.querySelector('#join').checkVisibility() && document.title") == "Chat"
    ben.open(url + "?room=garden")
    ben.until("return document.querySelector('#room').value === 'garden'")
    assert ben.run("return document.querySelector('#name').value") == "Ben"


def frames(page, url):
    """What the server may say, said by a websocket that is not one."""
    page.open(url)
    page.until("return document.querySelectorAll('#room option').length === 3")
    page.run("""window.WebSocket = class {
        static OPEN = 1
        readyState = 1
        constructor() { window.socket = this }
        hear(frame) { this.onmessage({ data: JSON.stringify(frame) }) }
    }""")
    page.click("#join button")
    state = "return [document.querySelector('#state').textContent, document.querySelector('#state').dataset.is]"
    for frame, text in (({"action": "missed", "count": 1, "exact": True}, "1 message missed"),
                        ({"action": "missed", "count": 7, "exact": True}, "7 messages missed"),
                        ({"action": "missed", "count": 7, "exact": False}, "At least 7 messages missed"),
                        ({"action": "missed", "count": None, "exact": False}, "Some messages may have been missed"),
                        ({"action": "error", "why": "no <i>reason</i>"}, "no <i>reason</i>")):
        page.run("socket.hear(arguments[0])", frame)
        assert page.run(LINES)[-1] == text, page.run(LINES)
    page.run("socket.hear({ action: 'constructor' }), socket.hear({ action: 'new to this page' })")
    page.run("socket.hear({ action: 'state', state: 'lost', why: 'no <b>cable</b>' })")
    text, colour = page.run(state)
    assert text.endswith(": no <b>cable</b>") and colour == "bad"
    page.run("socket.hear({ action: 'state', state: 'connected', why: '' })")
    assert page.run(state) == ["Connected", "good"]
    page.run("for (let i = 0; i < 600; i++) socket.hear({ action: 'message', user: 'u', message: `m${i}` })")
    assert [line[1] for line in page.run(SAID)] == [f"m{i}" for i in range(100, 600)], "the page keeps all of it"


def accessible(page, url):
    """By keyboard alone, at the width of a telephone, with names for all that is used."""
    page.resize(360, 640)
    page.open(url)
    page.until("return document.querySelectorAll('#room option').length === 3")
    assert page.run("return innerWidth") == 360
    assert page.run("return document.activeElement.id") == "name"
    page.press("Dora" + ENTER)
    page.until("return document.title === 'chatroom'")
    assert page.run("return document.activeElement.id") == "words"
    page.press("typed only" + ENTER)
    wait_for(page, "typed only")
    reached = []
    for _ in range(4):
        page.press(TAB)
        reached.append(page.run("return document.activeElement.id || document.activeElement.textContent"))
    assert {"Send", "leave", "log"} <= set(reached), reached
    assert page.run("return document.documentElement.scrollWidth <= innerWidth"), "wider than the screen"
    assert page.run("return document.querySelector('#say button').getBoundingClientRect().bottom <= innerHeight")
    assert page.run("return document.querySelector('#log').getAttribute('aria-live')") == "polite"
    assert page.run("return [...document.querySelectorAll('input, select')].every(field => field.labels.length === 1)")
    page.resize(800, 600)


def colours(light, dark, url):
    """Text stands out from what is behind it in both, by the WCAG's measure."""
    script = """
        const luminance = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map(c => c / 255)
            .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
        const at = (selector, name) => getComputedStyle(document.querySelector(selector))[name]
        const pairs = [[at('body', 'color'), at('body', 'backgroundColor')],
            [at('#state', 'color'), at('body', 'backgroundColor')],
            [at('#join button', 'color'), at('#join button', 'backgroundColor')]]
        return [luminance(pairs[0][1]), Math.min(...pairs.map(pair => {
            const [low, high] = pair.map(luminance).sort((a, b) => a - b)
            return (high + 0.05) / (low + 0.05)
        }))]"""
    for page in light, dark:
        page.open(url)
    (behind_light, contrast), (behind_dark, contrast_dark) = light.run(script), dark.run(script)
    assert behind_light > 0.5 > behind_dark, (behind_light, behind_dark)
    assert min(contrast, contrast_dark) >= 4.5, (contrast, contrast_dark)


def broker_restarts(ann, ben, url):
    """Two servers over Redis: ann's and ben's."""
    with Server(sys.argv[1], url) as here, Server(sys.argv[1], url) as there:
        join(ann, here.url, "Ann")
        join(ben, there.url, "Ben")
        wait_for(ann, "earlier messages are not kept")
        say(ann, "hello over Redis")
        wait_for(ben, "hello over Redis")
        broker("kill")
        for page in ann, ben:
            page.until("return document.querySelector('#state').textContent.includes('lost its broker')")
            wait_for(page, "Some messages may have been missed")
        broker("start")
        for page in ann, ben:
            page.until("return document.querySelector('#state').textContent === 'Connected'")
        again = 0
        while not any("again" in line for line in ben.run(LINES)):  # lost, unless ben's server is subscribed by then
            again += 1
            assert again < 200, "they do not hear each other again"
            say(ann, f"again {again}")
        here.end()
        there.end()


def server_restarts(ann, url):
    with Server(sys.argv[1], url) as server:
        port = str(server.port)
        join(ann, server.url, "Ann")
        server.end()
        ann.until("return document.querySelector('#state').textContent.includes('No connection')")
        say(ann, "kept")
        wait_for(ann, "Not sent")
        assert ann.run("return document.querySelector('#words').value") == "kept"
    with Server(sys.argv[1], "-p", port, url) as server:
        ann.until("return document.querySelector('#state').textContent === 'Connected'")
        wait_for(ann, "Back again")
        ann.press(ENTER)
        ann.until("return document.querySelector('#words').value === ''")
        wait_for(ann, "kept")
        server.end()


def main():
    url = os.environ["URL"]
    with Driver() as driver:
        ann, ben, cleo = driver.browser(), driver.browser(), driver.browser(dark=True)
        with Server(sys.argv[1]) as server:
            said = conversation(ann, ben, server.url)
            latecomer(cleo, server.url, said)
            markup(ann, ben)
            rooms(ann, ben, server.url)
            frames(ben, server.url)
            accessible(cleo, server.url)
            colours(ben, cleo, server.url)
            join(ann, server.url, "Ann")
            crowd = [enter(server.port) for _ in range(200)]
            say(ann, "so many here")
            for client in crowd:
                client.until(user="Ann", message="so many here")
            server.end()
        complaints = [c for page in (ann, ben, cleo) for c in page.complaints() if "WebSocket" not in c]
        assert complaints == [], complaints
        broker_restarts(ann, ben, url)
        server_restarts(ann, url)


main()
