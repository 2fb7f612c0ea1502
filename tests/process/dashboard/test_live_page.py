"""The page in a real browser: it signs in, follows what happens, and its policy forbids nothing that it does.

Debian and Ubuntu: `apt install chromium-headless-shell` (or `chromium`); CI installs it. Without it these tests are skipped.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

import manta
from manta.transport import tickets
from tests.support import browser as chromium
from tests.support.pausing import paused

pytestmark = [
    pytest.mark.shared_cluster,
    pytest.mark.skipif(
        chromium.program() is None,
        reason="no Chromium here: apt install chromium-headless-shell, or MANTA_TEST_CHROMIUM=path",
    ),
]

EVIL = "<img src=x onerror=document.title='owned'><b>it</b>"


@pytest.fixture(scope="module")
def browser(module_sandbox):
    with chromium.running(module_sandbox.path) as running:
        yield running


@pytest.fixture
def tab(browser, page):
    """A tab that has signed in."""
    with browser.tab() as tab:
        sign_in(tab, page)
        yield tab
        assert tab.violations() == []
        assert tab.evaluate("document.title") != "owned"
        assert [line for line in browser.said if "security" in line or "exception" in line] == []


@pytest.fixture
def driver(page):
    """This process has joined the cluster."""
    (raylet,) = [one for one in page.session_dir.glob("raylet-*.sock") if len(one.name) == len("raylet-01234567.sock")]
    manta.init(address=f"unix:{raylet}", log_to_driver=False)
    yield
    manta.shutdown()


def sign_in(tab, page):
    tab.go(f"{page.address}/")
    tab.type("#token", page.tokens["viewer"])
    tab.click("button")
    tab.wait_for("!!document.querySelector('#nodes')")


def has(text):
    return f"document.querySelector('main').innerText.includes({text!r})"


def test_signing_in_and_out(browser, page):
    with browser.tab() as tab:
        tab.go(f"{page.address}/")
        tab.type("#token", "0" * 64)
        tab.click("button")
        tab.wait_for("!!document.querySelector('.error')")
        assert "The token is not this cluster's." in tab.text()
        tab.type("#token", page.tokens["viewer"])
        tab.click("button")
        tab.wait_for("!!document.querySelector('#nodes')")
        (cookie,) = tab.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert tab.evaluate("document.cookie") == ""
        tab.click("header button")
        tab.wait_for("!!document.querySelector('#token')")
        tab.go(f"{page.address}/")
        assert "Nodes" not in tab.text()
        assert tab.violations() == []


def test_a_link_signs_in_by_a_click(browser, page):
    with browser.tab() as tab:
        tab.go(f"{page.address}/sign-in?ticket={tickets.make(page.tokens['viewer'], time.time(), os.urandom(16))}")
        tab.click("button")
        tab.wait_for("!!document.querySelector('#nodes')")


def test_the_page_follows_what_happens_without_reloading(tab, driver, tmp_path):
    """A task appears with its hostile name as text, its end and its error too; what was unfolded stays so."""
    tab.evaluate("window.mark = 1")
    gate = tmp_path / "gate"

    @manta.remote(max_retries=0)
    def waits(path):
        while not Path(path).exists():
            time.sleep(0.01)
        raise ValueError("first line\n" + path)

    ref = waits.options(name=EVIL).remote(str(gate))
    tab.wait_for(f"document.querySelector('#tasks').innerText.includes({EVIL!r})")
    tab.wait_for(has("1 running"))
    gate.touch()
    with pytest.raises(ValueError, match="first line"):
        manta.get(ref)
    tab.wait_for("!!document.querySelector('#tasks details')")
    tab.evaluate("document.querySelector('#tasks details').open = true")
    before = tab.evaluate("document.querySelector('#tasks').innerHTML")
    tab.wait_for(f"document.querySelector('#tasks').innerHTML !== {before!r}")
    assert tab.evaluate("document.querySelector('#tasks details').open")
    assert tab.evaluate("window.mark") == 1
    tab.wait_for("document.getElementById('live').textContent === 'Live.'")


def test_bars_of_cpus_and_store_follow(tab, driver):
    meters = "[...document.querySelectorAll('#nodes meter')].map((one) => one.value)"
    assert tab.evaluate(f"{meters}.length") == 3

    @manta.remote(num_cpus=2)
    class Holder:
        def hold(self):
            return manta.put(bytes(30 << 20))

    holder = Holder.remote()
    ref = manta.get(holder.hold.remote())
    tab.wait_for(f"{meters}[0] === 1 && {meters}[2] > 0.25")
    tab.wait_for("document.querySelector('#actors').innerText.includes('Holder')")
    del ref, holder
    tab.wait_for(f"{meters}[0] === 0 && {meters}[2] < 0.1")


def test_a_jobs_log_is_followed_to_its_end(tab, page, tmp_path):
    gate = tmp_path / "gate"
    command = f"printf '\\033[32mfirst\\033[0m <b>\\n'; while [ ! -e {gate} ]; do sleep 0.1; done; echo second; exit 3"
    status, answer = page.ask(
        "POST", "/api/jobs/", {"entrypoint": command, "submission_id": "live-1"}, role="submitter"
    )
    assert status == 200, answer
    tab.wait_for("!!document.querySelector('#job-live-1')")
    tab.click("#job-live-1")
    log = "document.querySelector('#log').textContent"
    tab.wait_for(f"document.querySelector('#log') && {log} === 'first <b>\\n'")
    tab.evaluate("window.mark = 1")
    gate.touch()
    tab.wait_for(f"{log} === 'first <b>\\nsecond\\n'")
    tab.wait_for("document.querySelector('#job').innerText.includes('failed')")
    assert "exit code 3" in tab.text()
    tab.wait_for("document.querySelector('#log').dataset.over === 'true'")
    assert tab.evaluate("window.mark") == 1


def test_without_scripts_the_page_is_whole(browser, page):
    with browser.tab(scripts=False) as tab:
        tab.go(f"{page.address}/")
        tab.type("#token", page.tokens["viewer"])
        tab.click("button")
        tab.wait_for("!!document.querySelector('#nodes table')")
        assert "As of when it was loaded." in tab.text()


def test_both_colours_are_readable(browser, page):
    """Text against what is behind it: 4.5 to 1, as WCAG asks."""
    contrast = """(() => {
      const light = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((one) => { const c = one / 255;
        return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const behind = (one) => { for (; one; one = one.parentElement) { const color = getComputedStyle(one).backgroundColor;
        if (color !== "rgba(0, 0, 0, 0)") return color; } return "rgb(255, 255, 255)"; };
      const texts = "h1, h2, p, td, th, small, .state, .counts, .note, a, button, label, dt, dd";
      return Math.min(...[...document.querySelectorAll(texts)]
        .filter((one) => one.innerText.trim()).map((one) => { const [a, b] = [light(getComputedStyle(one).color),
        light(behind(one))].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); })); })()"""
    for dark in (False, True):
        with browser.tab(dark=dark) as tab:
            tab.go(f"{page.address}/")
            assert tab.evaluate(contrast) >= 4.5
            sign_in(tab, page)
            assert tab.evaluate(contrast) >= 4.5
            back = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (back == "rgb(255, 255, 255)") is not dark


def test_every_table_and_bar_has_a_name(tab):
    assert tab.evaluate(
        "[...document.querySelectorAll('table')].every((one) => one.caption && one.caption.textContent"
        " && one.querySelectorAll('thead th[scope=col]').length && [...one.tBodies[0].rows].every((row) =>"
        " row.cells[0].scope === 'row'))"
    )
    assert tab.evaluate(
        "[...document.querySelectorAll('meter')].every((one) => one.getAttribute('aria-label') || one.ariaHidden === 'true')"
    )
    assert tab.evaluate("document.documentElement.lang") == "en"


#: Counts what a page asks for and what it waits for, and lets a test say that nobody looks.
COUNTING = """
window.asked = 0; window.waiting = new Set(); window.away = false;
const [ask, later, never] = [window.fetch, window.setTimeout, window.clearTimeout];
window.fetch = (...all) => { window.asked++; return ask(...all); };
window.setTimeout = (act, ms) => {
  const one = later(() => { window.waiting.delete(one); act(); }, ms);
  window.waiting.add(one);
  return one;
};
window.clearTimeout = (one) => { window.waiting.delete(one); never(one); };
Object.defineProperty(document, "hidden", { get: () => window.away });
"""


def test_a_hidden_page_waits_for_nothing_and_asks_again_when_it_is_seen(tab):
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=COUNTING)
    tab.call("Page.reload")
    tab.wait_for("window.asked > 0")
    tab.evaluate("window.away = true; document.dispatchEvent(new Event('visibilitychange'))")
    tab.wait_for("document.getElementById('live').textContent === 'Paused.' && window.waiting.size === 0")
    asked = tab.evaluate("window.asked")
    tab.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    tab.wait_for(f"window.asked > {asked}")
    tab.wait_for("document.getElementById('live').textContent === 'Live.' && window.waiting.size > 0")


def test_a_paused_control_is_said_and_so_is_its_return(tab, page):
    (control,) = [
        one
        for one in psutil.process_iter(["cmdline"])
        if {str(page.session_dir), "manta.control"} <= set(one.info["cmdline"] or ())
    ]
    with paused(control.pid):
        tab.wait_for("!document.querySelector('#away').hidden")
        tab.wait_for(has("Control does not answer since"))
        assert "alive" in tab.evaluate("document.querySelector('#nodes').innerText")
    tab.wait_for("document.querySelector('#away').hidden", timeout_s=40)
