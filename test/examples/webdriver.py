"""Browsers for tests: Chromium without a window, spoken to by the WebDriver protocol (W3C), which is JSON over HTTP."""
import base64
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

DEADLINE = 60  # seconds, for anything
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the name of a reference, from the specification
ENTER, TAB = "\ue007", "\ue004"


class Driver:
    """The program that starts browsers and speaks for them."""

    def __enter__(self):
        for program, package in ("chromedriver", "chromium-driver"), ("chromium", "chromium"):
            if shutil.which(program) is None:
                sys.exit(f"{program} is not installed: apt-get install {package}")
        self.process = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        self.browsers = []
        for line in self.process.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                self.url = f"http://127.0.0.1:{found[1]}"
                return self
        sys.exit("chromedriver does not start")

    def __exit__(self, *error):
        for browser in self.browsers:
            browser.quit()
        self.process.terminate()
        self.process.communicate(timeout=DEADLINE)

    def call(self, method, path, body=None):
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise RuntimeError(f"{method} {path}: {value['error']}: {value['message']}") from None

    def browser(self, width=800, height=600, dark=False):
        """One with a profile of its own: it shares nothing with the others."""
        # As root, which containers often are, Chromium refuses its sandbox; and their /dev/shm is often too small.
        words = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars",
                 "--force-device-scale-factor=1"]
        if dark:
            words.append("--blink-settings=preferredColorScheme=0")
        options = {"binary": shutil.which("chromium"), "args": words}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        session = self.call("POST", "/session", {"capabilities": wanted})
        self.browsers.append(Browser(self, session["sessionId"]))
        self.browsers[-1].resize(width, height)
        return self.browsers[-1]


class Browser:
    def __init__(self, driver, session):
        self.driver, self.path = driver, f"/session/{session}"

    def call(self, method, path, body=None):
        return self.driver.call(method, self.path + path, body)

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """What the body of a function returns."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector):
        return self.call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def click(self, selector):
        self.call("POST", f"/element/{self.find(selector)}/click")

    def type(self, selector, text):
        self.call("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def press(self, keys):
        """Where the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def frame(self, number):
        """Speak to a frame of the page; None: to the page."""
        self.call("POST", "/frame", {"id": None})
        if number is not None:
            self.call("POST", "/frame", {"id": number})

    def until(self, script, *arguments):
        """What it returns once that is true."""
        end = time.monotonic() + DEADLINE
        while not (value := self.run(script, *arguments)):
            if time.monotonic() > end:
                text = self.run("return document.body.innerText")
                raise AssertionError(f"never true: {script} {arguments}; the page:\n{text}")
            time.sleep(0.02)
        return value

    def resize(self, width, height):
        """Of the page, which may be smaller than any window."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics})

    def screenshot(self):
        return base64.b64decode(self.call("GET", "/screenshot"))

    def complaints(self):
        """What the console has got since the last time."""
        return [entry["message"] for entry in self.call("POST", "/se/log", {"type": "browser"})]

    def quit(self):
        self.call("DELETE", "")
