"""A headless Chromium, driven by the W3C protocol of its own driver: no library in between."""

import json
import shutil
import socket
import subprocess
import time
from base64 import b64decode
from pathlib import Path
from typing import Any, Self

import pytest
import requests

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs chromium and chromedriver: apt-get install chromium chromium-driver",
)
PHONE = 600
"""Pixels: what is narrower is one."""
_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--window-size=1400,2400",
    # Nothing outside this machine can be reached, so a page that needs it shows.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
]


class Chromium:
    """A browser; use it as a context.

    The next one of the same file is the same process with a new window, no cookies and nothing stored.
    """

    def __init__(self, *, lists_requests: bool = False) -> None:
        """With `lists_requests` it writes down what pages ask for, which costs a sixth of what it does."""
        self._lists_requests = lists_requests

    def __enter__(self) -> Self:
        self._driver = _idle.pop(self._lists_requests, None) or Driver(self._lists_requests)
        self._call = self._driver.call
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._driver.forget()
            _idle[self._lists_requests] = self._driver
        else:
            self._driver.quit()

    def open(self, url: str) -> None:
        """Load a page."""
        self._call("POST", "/url", {"url": url})

    def cookie(self, name: str, value: str) -> None:
        """Set a cookie of the site that is open."""
        self._call("POST", "/cookie", {"cookie": {"name": name, "value": value}})

    def run(self, script: str) -> Any:
        """Return what JavaScript returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def wait_for(self, script: str) -> Any:
        """Return what JavaScript gives to the function that it gets as its last argument."""
        return self._call("POST", "/execute/async", {"script": script, "args": []})

    def size(self, width: int, height: int) -> None:
        """Show pages as a window of that many pixels does, a telephone's too."""
        self._call(
            "POST",
            "/goog/cdp/execute",
            {
                "cmd": "Emulation.setDeviceMetricsOverride",
                "params": {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < PHONE},
            },
        )

    def screenshot(self, path: Path) -> None:
        """Save what the window shows."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b64decode(self._call("GET", "/screenshot")))

    def requested(self) -> list[str]:
        """Return the addresses that pages have asked for since the last call."""
        entries = self._call("POST", "/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """Return the errors of the browser's console since the last call."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


class Driver:
    """A process of chromedriver, and its Chromium."""

    def __init__(self, lists_requests: bool) -> None:
        port = _free_port()
        self._process = subprocess.Popen(
            [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._url = f"http://127.0.0.1:{port}"
        self._wait()
        logs = {"browser": "ALL", **({"performance": "ALL"} if lists_requests else {})}
        options = {"args": _FLAGS, "binary": CHROMIUM}
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": logs}}
        self._url += f"/session/{self.call('POST', '/session', {'capabilities': capabilities})['sessionId']}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a command; return its value."""
        answer = requests.request(method, self._url + path, json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()["value"]

    def forget(self) -> None:
        """Go on in a new window, without what pages have left."""
        window = self.call("POST", "/window/new", {"type": "tab"})["handle"]
        for command, parameters in (
            ("Network.clearBrowserCookies", {}),
            ("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "all"}),
        ):
            self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})
        self.call("DELETE", "/window")
        self.call("POST", "/window", {"handle": window})
        self.call("POST", "/se/log", {"type": "browser"})

    def quit(self) -> None:
        """End both."""
        try:
            self.call("DELETE", "")
        finally:
            self._process.terminate()
            self._process.wait(10)

    def _wait(self) -> None:
        for _ in range(100):
            try:
                if self.call("GET", "/status")["ready"]:
                    return
            except requests.ConnectionError:
                time.sleep(0.1)
        raise TimeoutError("chromedriver does not answer")


_idle: dict[bool, Driver] = {}


def end_idle() -> None:
    """End the browsers that a file has used; they hold connections to its server."""
    while _idle:
        _idle.popitem()[1].quit()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
