"""What the driver shows of workers' lines: prefixes, repetitions, filters."""

from __future__ import annotations

import pytest

from manta.api.output import Dedup, Printer
from manta.rpc.v1 import channel_pb2 as pb


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """Set variables under either prefix; nothing of this machine's shows through."""
    for name in ("COLOR_PREFIX", "DISABLE_WORKER_LOG_PREFIX", "DEDUP_LOGS", "DEDUP_LOGS_AGG_WINDOW_S"):
        for prefix in ("MANTA_", "RAY_"):
            monkeypatch.delenv(prefix + name, raising=False)
    monkeypatch.setenv("RAY_COLOR_PREFIX", "0")
    return monkeypatch


def lines(*texts, pid=7, source="f", stderr=False, node_ip="127.0.0.1", from_raylet=False):
    return pb.LogLines(lines=texts, pid=pid, source=source, stderr=stderr, node_ip=node_ip, from_raylet=from_raylet)


def shown(capsys, *frames):
    printer = Printer("127.0.0.1")
    for frame in frames:
        printer.show(frame)
    printer.finish()
    return capsys.readouterr()


def test_a_line_says_who_printed_it(capsys):
    assert shown(capsys, lines("a", "b")).out == "(f pid=7) a\n(f pid=7) b\n"
    assert shown(capsys, lines("a", source="")).out == "(pid=7) a\n"


def test_another_nodes_line_says_where_it_comes_from(capsys):
    assert shown(capsys, lines("a", node_ip="10.0.0.9")).out == "(f pid=7, ip=10.0.0.9) a\n"


def test_the_raylets_lines_are_the_raylets(capsys):
    assert shown(capsys, lines("a", from_raylet=True)).out == "(raylet) a\n"


def test_stderr_goes_to_stderr(capsys):
    assert shown(capsys, lines("a", stderr=True)) == ("", "(f pid=7) a\n")


@pytest.mark.parametrize("prefix", ["RAY_", "MANTA_"])
def test_the_prefix_can_be_left_out(prefix, settings, capsys):
    settings.setenv(f"{prefix}DISABLE_WORKER_LOG_PREFIX", "1")
    assert shown(capsys, lines("a")).out == "a\n"


@pytest.mark.parametrize("prefix", ["RAY_", "MANTA_"])
def test_colours_are_on_unless_turned_off(prefix, settings, capsys):
    settings.delenv("RAY_COLOR_PREFIX")
    assert shown(capsys, lines("a")).out == "\x1b[36m(f pid=7)\x1b[0m a\n"
    settings.setenv(f"{prefix}COLOR_PREFIX", "0")
    assert shown(capsys, lines("a")).out == "(f pid=7) a\n"


def test_what_several_processes_print_is_shown_once_and_counted(capsys):
    out = shown(capsys, *(lines("same", pid=pid) for pid in (1, 2, 3, 4))).out
    assert out == "(f pid=1) same\n(f pid=4) same [repeated 3x across cluster]\n"


def test_a_single_repetition_is_shown_as_it_is(capsys):
    assert shown(capsys, lines("same", pid=1), lines("same", pid=2)).out == "(f pid=1) same\n(f pid=2) same\n"


def test_one_process_may_repeat_itself(capsys):
    assert shown(capsys, lines("same", "same"), lines("same")).out == "(f pid=7) same\n" * 3


def test_lines_that_differ_in_digits_only_are_all_shown(capsys):
    out = shown(capsys, *(lines(f"n_estimators {n}", pid=n) for n in range(100, 150, 5))).out
    assert out == "".join(f"(f pid={n}) n_estimators {n}\n" for n in range(100, 150, 5))


def test_numbers_and_empty_lines_are_all_shown(capsys):
    out = shown(capsys, *(lines("5", "", pid=pid) for pid in (1, 2))).out
    assert out == "(f pid=1) 5\n(f pid=1) \n(f pid=2) 5\n(f pid=2) \n"


@pytest.mark.parametrize("prefix", ["RAY_", "MANTA_"])
def test_gathering_can_be_turned_off(prefix, settings, capsys):
    settings.setenv(f"{prefix}DEDUP_LOGS", "0")
    assert shown(capsys, lines("a", pid=1), lines("a", pid=2), lines("a", pid=3)).out.count("a\n") == 3


@pytest.mark.parametrize("prefix", ["RAY_", "MANTA_"])
def test_lines_can_be_kept_or_left_out_by_pattern(prefix, settings, capsys):
    settings.setenv(f"{prefix}DEDUP_LOGS_ALLOW_REGEX", "keep")
    settings.setenv(f"{prefix}DEDUP_LOGS_SKIP_REGEX", "^drop")
    out = shown(capsys, *(lines("keep me", "drop me", pid=pid) for pid in (1, 2, 3))).out
    assert out == "".join(f"(f pid={pid}) keep me\n" for pid in (1, 2, 3))


def test_repetitions_are_told_when_their_time_is_over():
    dedup = Dedup(5.0, None, None)
    assert [dedup.take("a", pid, f"{pid} ", 0.0) for pid in (1, 2, 3)] == [True, False, False]
    assert dedup.due(4.9) == []
    assert dedup.due(5.0) == [("3 ", "a [repeated 2x across cluster]")]
    assert dedup.take("a", 4, "4 ", 5.1), "counting begins anew"


def test_many_different_lines_are_not_all_remembered():
    dedup = Dedup(5.0, None, None)
    assert all(dedup.take(f"line {n}", 1, "", 0.0) for n in range(5000))
    assert len(dedup._seen) <= 1000


def test_a_closed_stdout_is_no_error(monkeypatch):
    import io
    import sys

    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    Printer("127.0.0.1").show(lines("a"))


def test_what_a_terminal_cannot_show_is_written_out(monkeypatch):
    import io
    import sys

    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    Printer("127.0.0.1").show(lines("before", "ü", "after"))
    assert narrow.buffer.getvalue() == b"(f pid=7) before\n(f pid=7) \\xfc\n(f pid=7) after\n"
