"""Telling a system's own work from everybody else's."""

from benchmarks.noise import Disturbance, Weather, between, disturbed
from benchmarks.procs import Process, descendants


def weather(at: float, busy_s: float, ours_s: float, *, stolen_s: float = 0.0, spin: float = 30.0) -> Weather:
    return Weather(at, busy_s, stolen_s, ours_s, load=0.5, spin=spin, ping_pong=9000)


def test_others_are_what_the_machine_did_and_we_did_not():
    seen = between(weather(100.0, 50.0, 7.0), weather(110.0, 65.0, 20.0, stolen_s=1.0))

    assert seen == Disturbance(0.5, 0.5, others_cores=0.2, stolen_cores=0.1, spin=(30.0, 30.0), ping_pong=(9000, 9000))
    assert disturbed(seen, usual_spin=30.0) is None


def test_rounding_never_makes_others_negative():
    assert between(weather(0.0, 10.0, 10.0), weather(1.0, 10.0, 10.02)).others_cores == 0.0


def test_each_kind_of_disturbance_is_named():
    busy = between(weather(0.0, 0.0, 0.0), weather(2.0, 2.0, 0.0))
    stolen = between(weather(0.0, 0.0, 0.0), weather(2.0, 0.0, 0.0, stolen_s=1.0))
    slow = between(weather(0.0, 0.0, 0.0), weather(2.0, 0.0, 0.0, spin=15.0))

    assert [disturbed(seen, 30.0) for seen in (busy, stolen, slow)] == [
        "others took 1.00 cores",
        "the hypervisor took 0.50 cores",
        "pure Python ran 50% off its usual speed",
    ]


def test_descendants_come_parents_first_without_the_subtrees_cut_off():
    family = {pid: Process(pid, parent, 0.0, "p") for pid, parent in [(2, 1), (3, 2), (4, 2), (5, 4), (6, 3), (9, 8)]}

    assert [process.pid for process in descendants(2, among=family)] == [3, 4, 6, 5]
    assert [process.pid for process in descendants(2, [4], among=family)] == [3, 6]
