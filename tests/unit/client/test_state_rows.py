"""Rows made of what several nodes tell: each attempt once, told by whoever knows most, and what is missing is said."""

import json

import pytest

from manta.client import state_query, state_rows
from manta.core import errors
from manta.rpc.v1 import channel_pb2 as pb
from manta.rpc.v1 import control_pb2 as ctl
from manta.rpc.v1 import state_pb2 as st
from manta.transport.convert import error_to_proto

TASK = b"t" * 20 + b"\1\0\0\0"


def _tasks(*reports: pb.TaskReport, **more) -> st.StateAnswer:
    return st.StateAnswer(node_ip="10.0.0.1", tasks=reports, **more)


def _report(state, *, attempt=0, started=0, ended=0, **more) -> pb.TaskReport:
    return pb.TaskReport(
        ids=TASK, names=["<script>"], name=[0], state=[state], attempt=[attempt], started_us=[started], ended_us=[ended],
        worker_id=b"w" * 28, pid=7, **more,
    )  # fmt: skip


def test_an_attempt_is_one_row_told_by_the_node_that_ran_it():
    """Its owner on another node still thinks it is waiting."""
    owner, runner = _tasks(_report(pb.TASK_STATE_SUBMITTED_TO_WORKER)), _tasks(_report(pb.TASK_STATE_RUNNING))

    for told in ([("aa", owner), ("bb", runner)], [("bb", runner), ("aa", owner)]):
        [row] = state_rows.tasks(told)
        assert ("RUNNING", "bb", 7, "<script>") == (row["state"], row["node_id"], row["worker_pid"], row["name"])
        assert row["required_resources"] is None


def test_what_is_under_way_comes_first_then_what_ended_last():
    told = _tasks(
        _report(pb.TASK_STATE_FAILED, started=1000, ended=2000),
        _report(pb.TASK_STATE_FAILED, attempt=1, started=3000, ended=4000),
        _report(pb.TASK_STATE_RUNNING, attempt=2),
    )

    assert [2, 1, 0] == [row["attempt_number"] for row in state_rows.tasks([("aa", told)])]


def test_nodes_that_failed_are_named_and_the_others_rows_are_there():
    silent = error_to_proto(errors.RpcTimeoutError("it did not answer within 4 s"))
    rows = json.dumps([{"worker_id": "w1", "pid": 1}])
    reply = ctl.AskNodesResponse(
        answers=[
            ctl.NodeAnswer(node_id=b"\xaa" * 28, answer=st.StateAnswer(json=rows, untold=3).SerializeToString()),
            ctl.NodeAnswer(node_id=b"\xbb" * 28, error=silent),
        ]
    )

    found = state_query.found_in("workers", reply)

    assert [("w1", "aa" * 28)] == [(row["worker_id"], row["node_id"]) for row in found.rows]
    assert [f"node {'bb' * 28}: it did not answer within 4 s"] == found.failures
    assert (3, ["4 in all; 1 were looked at"]) == (found.left_out, found.notes)


def test_filters_that_make_no_sense_are_refused_as_ray_refuses_them():
    rows = [{"state": "ALIVE"}]
    assert rows == state_rows.chosen(rows, [("state", "=", "alive")])
    assert [] == state_rows.chosen(rows, [("state", "!=", "alive")])
    with pytest.raises(ValueError, match="Unsupported filter predicate < is given"):
        state_rows.chosen(rows, [("state", "<", "x")])
    with pytest.raises(ValueError, match="The given filter column colour is not supported"):
        state_rows.chosen(rows, [("colour", "=", "x")])
