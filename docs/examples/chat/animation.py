#!/usr/bin/python3
"""Makes the animation of the README: two browsers, each on a server of its own, over one Redis that is restarted.

    apt-get install chromium chromium-driver python3-pil redis-server
    build/test/broker/broker redis -- /usr/bin/python3 -B docs/examples/chat/animation.py build/docs/examples/chat-server \
        docs/examples/chat/chat.webp

Real screenshots of the real page: what is not said here is what the servers said.
"""
import io
import os
import sys

from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "..", "test", "examples"))
from chat_help import Server, broker  # noqa: E402
from webdriver import ENTER, Driver  # noqa: E402

SIZE = 410, 380
BETWEEN = 12  # pixels


class Film:
    def __init__(self, pages):
        self.pages, self.frames, self.times = pages, [], []

    def shoot(self, milliseconds):
        frame = Image.new("RGB", (2 * SIZE[0] + BETWEEN, SIZE[1]), "#8b949e")
        for page, x in zip(self.pages, (0, SIZE[0] + BETWEEN)):
            frame.paste(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), (x, 0))
        self.frames.append(frame)
        self.times.append(milliseconds)

    def save(self, path):
        self.frames[0].save(path, save_all=True, append_images=self.frames[1:], duration=self.times, loop=0,
                            lossless=True, method=6)


def wait_for(page, text):
    page.until("return document.body.innerText.includes(arguments[0])", text)


def join(film, page, url, name):
    page.open(url)
    page.until("return document.querySelectorAll('#room option').length === 3")
    page.type("#name", name)
    film.shoot(700)
    page.press(ENTER)
    wait_for(page, "from now on")


def say(film, page, words):
    for size in range(6, len(words) + 6, 6):
        page.type("#words", words[size - 6:size])
        film.shoot(120)
    page.press(ENTER)
    for other in film.pages:
        wait_for(other, words)
    film.shoot(1200)


def main():
    program, path = sys.argv[1:]
    url = os.environ["URL"]
    with Driver() as driver, Server(program, url) as here, Server(program, url) as there:
        ann, ben = driver.browser(*SIZE), driver.browser(*SIZE, dark=True)
        film = Film([ann, ben])
        ben.open(there.url)
        ben.until("return document.querySelectorAll('#room option').length === 3")
        join(film, ann, here.url, "Ann")
        join(film, ben, there.url, "Ben")
        film.shoot(600)
        say(film, ann, "Hello, over Redis")
        say(film, ben, "<b>Loud</b> and clear")
        broker("kill")
        for page in film.pages:
            wait_for(page, "has lost its broker")
            wait_for(page, "may have been missed")
        film.shoot(2200)
        broker("start")
        for page in film.pages:
            wait_for(page, "Connected")
        film.shoot(1200)
        say(film, ann, "There you are again")
        film.shoot(2500)
        film.save(path)
        here.end()
        there.end()
    print(f"{path}: {len(film.frames)} frames, {os.path.getsize(path)} bytes")


main()
