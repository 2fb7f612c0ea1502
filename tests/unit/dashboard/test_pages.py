"""Facts to HTML: nothing that a stranger chose becomes markup, and what is not known is said."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from html.parser import HTMLParser

import pytest

from manta.dashboard.pages import document, doors, job
from manta.dashboard.pages.facts import Facts, Seen
from manta.dashboard.pages.html import join, tag
from manta.dashboard.pages.log_text import Piece
from manta.dashboard.pages.overview import overview
from manta.rpc.v1 import control_pb2 as pb

EVIL = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\"' \x1b[31m\x00\u202e\n<b>"
NOW = 1_000_000.0
TAGS = {
    "a", "b", "body", "button", "caption", "code", "dd", "details", "div", "dl", "dt", "footer", "form", "h1", "h2", "h3", "head",
    "header", "html", "input", "label", "li", "link", "main", "meta", "meter", "p", "pre", "script", "section", "small", "span",
    "strong", "style", "summary", "table", "tbody", "td", "th", "thead", "title", "tr", "ul",
} - {"b"}  # fmt: skip


class Reader(HTMLParser):
    """Takes a page apart: which elements, which attributes, is everything closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.ids, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.attributes += [(name, key, value) for key, value in attributes]
        self.ids += [value for key, value in attributes if key == "id"]
        if name not in ("input", "link", "meta"):
            self._open.append(name)

    def handle_endtag(self, name):
        assert self._open.pop() == name


def told(**changes):
    store = {"sealed_bytes": 30, "unsealed_bytes": 10, "capacity_bytes": 100, "objects": 1, "waiting_creates": 2}
    return {
        "total": {"CPU": 20_000},
        "available": {"CPU": 5_000},
        "workers": {"busy": 2},
        "store": store,
        "memory": {"used": 1 << 30, "limit": 4 << 30, "of": "the node"},
        "tasks": {"finished": 7, "failed": 3},
        **changes,
    }


def node(number=1, **fields):
    made = pb.NodeInfo(
        node_id=bytes([number]) * 28,
        state=pb.NODE_STATE_ALIVE,
        host="10.0.0.1",
        name="n",
        started_unix_ms=int(NOW * 1000),
    )
    for name, value in fields.items():
        if name == "total":
            made.total.amounts.update(value)
        else:
            setattr(made, name, value)
    return made


def task(number=1, **fields):
    return {
        "task_id": f"{number:048x}", "attempt_number": 0, "name": "f", "state": "RUNNING", "node_id": "01" * 28,
        "worker_pid": 7, "error_type": None, "error_message": None, "start_time_ms": None, "end_time_ms": None, **fields,
    }  # fmt: skip


def actor(**fields):
    return {
        "actor_id": "ab" * 16, "class_name": "A", "state": "ALIVE", "name": None, "ray_namespace": "ns", "node_id": None,
        "pid": 3, "num_restarts": 0, "waiting_reason": None, "death_cause": None, **fields,
    }  # fmt: skip


def submitted(**fields):
    return {
        "submission_id": "job-1", "status": "RUNNING", "entrypoint": "true", "message": "m", "error_type": None,
        "start_time": int(NOW * 1000) - 5000, "end_time": None, "metadata": {}, "runtime_env": {}, "driver_exit_code": None,
        **fields,
    }  # fmt: skip


def shown(facts, **seen):
    return overview(Seen(facts, **seen), NOW)


def hostile():
    shape = pb.PendingShape(count=2, name=EVIL, infeasible=EVIL)
    shape.resources.amounts[EVIL] = 10_000
    return Facts(
        at=NOW,
        nodes=[node(name=EVIL, host=EVIL, total={"CPU": 1, EVIL: 5}), node(2, state=pb.NODE_STATE_DEAD, death_reason=EVIL)],
        told={("01" * 28): told(workers={EVIL: 1})},
        silent={EVIL: EVIL},
        actors=[actor(class_name=EVIL, name=EVIL, ray_namespace=EVIL, death_cause=EVIL, state="DEAD")],
        actors_total=1,
        groups=[
            {
                "placement_group_id": "00" * 18, "name": EVIL, "state": "PENDING", "strategy": "PACK",
                "waiting_reason": EVIL, "bundles": [{"unit_resources": {EVIL: 1.0}}],
            }
        ],
        drivers=[
            {
                "job_id": "01000000", "status": "RUNNING", "entrypoint": EVIL, "message": EVIL, "start_time": 1,
                "end_time": None, "driver_info": {"pid": "5"},
            }
        ],
        jobs=[submitted(entrypoint=EVIL, message=EVIL, metadata={EVIL: EVIL})],
        jobs_total=1,
        tasks=[
            task(name=EVIL),
            task(2, name=EVIL, state="FAILED", error_type=EVIL, error_message=EVIL, end_time_ms=1),
            task(3, name=EVIL, state="FINISHED", start_time_ms=1, end_time_ms=2),
        ],
        tasks_at=NOW,
        notes=[EVIL],
        demand=pb.Demand(tasks=[shape]),
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        shown(hostile()),
        shown(hostile(), away_since=NOW - 12, why=EVIL),
        document.live(EVIL, EVIL, shown(hostile()), every_ms=1),
        document.live(
            "t", "c", job.page(submitted(entrypoint=EVIL, message=EVIL, error_type=EVIL, metadata={EVIL: EVIL},
                runtime_env={EVIL: EVIL}), Piece(EVIL, 3), 5, NOW, over=False), every_ms=1,
        ),
        doors.sign_in(EVIL, wrong=EVIL),
        doors.sign_in(EVIL, ticket=EVIL),
        doors.from_elsewhere(EVIL),
        doors.trouble(EVIL, EVIL),
    ],
)  # fmt: skip
def test_strangers_texts_stay_texts(text):
    read = Reader(text)
    assert set(read.tags) <= TAGS
    assert read.tags.count("script") == (1 if "<main" in text and "data-every" in text else 0)
    assert not [one for one in read.attributes if one[1].startswith("on") or one[1] in ("style", "src", "srcdoc")]
    assert len(read.ids) == len(set(read.ids))
    for _, key, value in read.attributes:
        if key in ("href", "action"):
            assert re.fullmatch(r"/(sign-in|sign-out|jobs/[A-Za-z0-9_.-]+)?|data:,", value), value
    for letter in "\x1b\x00\u202e":
        assert letter not in text


def test_a_text_is_escaped_unless_it_was_made_here():
    assert join("<", tag("b", ">"), None) == "&lt;<b>&gt;</b>"
    assert tag("p", title='"><script>') == '<p title="&quot;&gt;&lt;script&gt;"></p>'


def test_the_policy_allows_the_pages_own_style_and_script_alone():
    text = document.live("t", "c", tag("p"), every_ms=1)
    policy = dict(part.split(" ", 1) for part in document.headers(live=True)["Content-Security-Policy"].split("; "))
    for name, directive in (("style", "style-src"), ("script", "script-src")):
        inside = re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert "script-src" not in document.headers(live=False)["Content-Security-Policy"]
    assert "unsafe" not in str(policy)


def words(text):
    return html.unescape(re.sub(r"<[^>]+>", " ", text))


def test_nodes_are_shown_with_bars_and_words():
    text = shown(
        Facts(at=NOW, nodes=[node(total={"CPU": 20_000, "GPU": 10_000, "CPU_group_0_ab": 1})], told={"01" * 28: told()})
    )
    assert '<meter min="0" max="1" value="0.750" aria-label="1.5 of 2">75%</meter>1.5 of 2' in text
    assert 'aria-label="1.0 GiB of 4.0 GiB"' in text
    assert 'aria-label="40 B of 100 B"' in text
    assert "2 wait for room" in text
    assert "GPU" in text
    assert "_group_" not in text


def test_a_node_that_drains_and_one_that_is_dead_say_why():
    draining = node(1)
    draining.drain.CopyFrom(pb.NodeDrain(state=pb.DRAIN_STATE_DRAINING, reason="a new kernel"))
    dead = node(2, state=pb.NODE_STATE_DEAD, death_reason="it fell silent", ended_unix_ms=int(NOW * 1000) - 3000)
    text = words(shown(Facts(at=NOW, nodes=[dead, draining])))
    assert "1 draining, 1 dead" in text
    assert "a new kernel" in text
    assert "it fell silent" in text
    assert "dead for 3 s" in text
    assert text.index("a new kernel") < text.index("it fell silent")
    assert "not told" in text


def test_no_table_is_endless():
    facts = Facts(
        at=NOW, nodes=[node(at % 250 + 1) for at in range(300)], actors=[actor()] * 300, actors_total=4000,
        jobs=[submitted(submission_id=f"j{at}") for at in range(300)], jobs_total=300,
        tasks=[task(at) for at in range(10_000)],
    )  # fmt: skip
    text = shown(facts)
    assert text.count("<tr>") < 300
    for note in ("50 of 300 shown", "50 of 4000 shown", "50 of 10000 shown"):
        assert note in text


def test_an_empty_cluster_says_so():
    text = words(shown(Facts(at=NOW)))
    for sentence in (
        "No node has registered.",
        "Nothing runs or waits.",
        "There are no actors.",
        "No job was submitted.",
    ):
        assert sentence in text
    assert "Placement groups" not in text


def test_control_that_is_away_is_said_with_its_time():
    text = words(shown(Facts(at=NOW - 20, nodes=[node()]), away_since=NOW - 12, why="connection refused"))
    assert "Control does not answer since 12 s." in text
    assert "What is below is 20 s old." in text
    assert "connection refused" in text
    assert "1 alive" in text
    assert "Nothing is known yet." in words(shown(Facts(), away_since=NOW - 1))


def test_a_failed_task_shows_its_error_and_unfolds_the_rest():
    trace = "Traceback:\n  line 1\nValueError: no"
    text = shown(
        Facts(at=NOW, tasks=[task(state="FAILED", error_type="TASK_EXECUTION_EXCEPTION", error_message=trace)])
    )
    assert f'<details id="error-{1:048x}-0"><summary>TASK_EXECUTION_EXCEPTION: ValueError: no</summary>' in text
    assert "<pre>Traceback:\n  line 1\nValueError: no</pre>" in text


@pytest.mark.parametrize(
    ("asked", "onward"),
    [
        ("/jobs/job-1", "/jobs/job-1"), ("/", "/"), ("", "/"), ("//evil.example", "/"), ("/jobs/../x", "/"),
        ("https://evil.example/", "/"), ("/jobs/a/log", "/"), ("/sign-out", "/"), ("/jobs/a\n", "/"), ("/\\evil.example", "/"),
    ],
)  # fmt: skip
def test_signing_in_leads_to_pages_of_ours_only(asked, onward):
    assert doors.own_path(asked) == onward


def test_a_link_signs_nobody_in_by_being_looked_at():
    """Mail scanners and chat previews follow links."""
    text = doors.sign_in("/", ticket="abc")
    assert '<form method="post" action="/sign-in">' in text
    assert '<input type="hidden" name="ticket" value="abc">' in text
