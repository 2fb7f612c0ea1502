"""A headless Chromium, driven over a pipe by its DevTools protocol. Debian: `apt install chromium-headless-shell`."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Names of the program, the smallest first; MANTA_TEST_CHROMIUM names another one.
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
#: How long it may take for an answer, seconds.
PATIENCE_S = 30.0
#: How often it is started before there is none.
STARTS = 3

#: Notes what a page's policy forbids, from before anything of the page runs.
_NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


def program() -> str | None:
    """Where it is; None if there is none."""
    named = os.environ.get("MANTA_TEST_CHROMIUM")
    names = (named,) if named else PROGRAMS
    return next((found for name in names if (found := shutil.which(name))), None)


class Browser:
    """A running browser."""

    def __init__(self, process: subprocess.Popen[bytes], read: int, write: int) -> None:
        self._process, self._read, self._write = process, read, write
        self._last = 0
        self._data = b""
        #: What pages logged, and what was said of them: security, network, exceptions.
        self.said: list[str] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One command; its result."""
        self._last += 1
        number = self._last
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self, deadline: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._data:
            left = max(0.0, deadline - time.monotonic())
            assert select.select([self._read], [], [], left)[0], f"the browser does not answer {what}"
            chunk = os.read(self._read, 1 << 16)
            assert chunk, "the browser has ended"
            self._data += chunk
        first, _, self._data = self._data.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        match message.get("method"):
            case "Log.entryAdded":
                entry = message["params"]["entry"]
                self.said.append(f"{entry['source']} {entry['level']}: {entry['text']} {entry.get('url', '')}")
            case "Runtime.consoleAPICalled":
                self.said.append(f"console: {[one.get('value') for one in message['params']['args']]}")
            case "Runtime.exceptionThrown":
                self.said.append(f"exception: {message['params']['exceptionDetails']}")

    @contextmanager
    def tab(self, *, scripts: bool = True, dark: bool = False) -> Iterator[Tab]:
        """A tab with no cookies of others, for the block."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        try:
            target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
            session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            tab = Tab(self, session, context)
            for domain in ("Page", "Runtime", "Log", "Network"):
                tab.call(f"{domain}.enable")
            tab.call("Page.addScriptToEvaluateOnNewDocument", source=_NOTE_VIOLATIONS)
            tab.call("Emulation.setDeviceMetricsOverride", width=1280, height=1600, deviceScaleFactor=1, mobile=False)
            tab.call(
                "Emulation.setEmulatedMedia",
                features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
            )
            tab.call("Emulation.setScriptExecutionDisabled", value=not scripts)
            yield tab
        finally:
            self.call("Target.disposeBrowserContext", browserContextId=context)

    def close(self) -> None:
        """End it."""
        try:
            self.call("Browser.close")
            self._process.wait(PATIENCE_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser, self._session, self._context = browser, session, context

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command for this page."""
        return self._browser.call(method, self._session, **parameters)

    def go(self, url: str) -> None:
        """Load a page and wait for it."""
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str, *, timeout_s: float = 20.0) -> Any:
        """The first truthy value of an expression, also over a change of pages."""
        deadline = time.monotonic() + timeout_s
        while True:
            value = None
            try:
                value = self.evaluate(expression)
            except AssertionError as changing:  # the page is being left
                if time.monotonic() > deadline:
                    raise AssertionError(f"still not: {expression}") from changing
            if value:
                return value
            assert time.monotonic() <= deadline, f"still not: {expression}; the page says: {self.text()[:2000]}"
            time.sleep(0.05)

    def text(self) -> str:
        """What the page shows."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def click(self, selector: str) -> None:
        """Press the left button on an element, as a person does."""
        place = self.evaluate(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView(); "
            "const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def cookies(self) -> list[dict[str, Any]]:
        """Those of this tab."""
        found: list[dict[str, Any]] = self._browser.call("Storage.getCookies", browserContextId=self._context)[
            "cookies"
        ]
        return found

    def violations(self) -> list[str]:
        """What the page's policy has forbidden."""
        found: list[str] = self.evaluate("window.violations")
        return found

    def picture(self, path: Path) -> None:
        """Leave a PNG of it."""
        import base64

        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


@contextmanager
def running(folder: Path) -> Iterator[Browser]:
    """A browser for the block; its files are in a folder that goes at the end."""
    profile = folder / "browser"
    profile.mkdir()
    browser = _begun(profile)
    try:
        yield browser
    finally:
        browser.close()
        shutil.rmtree(profile)


def _begun(profile: Path) -> Browser:
    """One that answers. One that ends while it starts, on a busy machine, is started again; what it said is told."""
    said = ""
    for _ in range(STARTS):
        browser = _started(profile)
        try:
            browser.call("Browser.getVersion")
            return browser
        except (AssertionError, OSError) as ended:
            browser.kill()
            said = f"{ended}; its words were: {(profile / 'log').read_text(errors='replace')[-2000:]}"
    raise AssertionError(f"no browser in {STARTS} starts: {said}")


def _started(profile: Path) -> Browser:
    found = program()
    assert found is not None
    mine_in, theirs_out = os.pipe()
    theirs_in, mine_out = os.pipe()
    # It wants 3 and 4, which may be one of these.
    high_in, high_out = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in (theirs_in, theirs_out))

    def place() -> None:
        os.dup2(high_in, 3)
        os.dup2(high_out, 4)

    sandbox = ("--no-sandbox",) if os.getuid() == 0 else ()
    with open(profile / "log", "wb") as log:
        process = subprocess.Popen(
            [
                found, "--headless", *sandbox, "--remote-debugging-pipe", f"--user-data-dir={profile}", "--disable-gpu",
                "--disable-dev-shm-usage", "--no-first-run", "--ignore-certificate-errors", "--disable-background-networking",
                "--no-proxy-server", "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(3, 4), preexec_fn=place,
            env={**os.environ, "HOME": str(profile), "TMPDIR": str(profile)},
        )  # fmt: skip
    for fd in (theirs_in, theirs_out, high_in, high_out):
        os.close(fd)
    return Browser(process, mine_in, mine_out)
