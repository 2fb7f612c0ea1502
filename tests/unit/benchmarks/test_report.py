"""What people read, as a whole."""

from benchmarks.drive import Result
from benchmarks.noise import Disturbance
from benchmarks.report import as_json, number, table
from benchmarks.rows import Goal, Row, Summary

SUMMARY = Summary("ray", "throughput", geometric_mean=10.0, lowest=2.0)
ROWS = [
    Row(
        "task_sync", "", "g", "throughput", "tasks/s", "higher", (Goal(peer="ray", ratio=10.0),), ("ray",), decides=True
    ),
    Row("shutdown", "", "g", "lifecycle", "s", "lower", (Goal(max=0.3),), ("ray",)),
    Row("put_large", "", "g", "throughput", "GB/s", "higher", (Goal(min=9.0),), ("ray",)),
]
CALM = Disturbance(0.1, 0.1, 0.0, 0.0, (30.0, 30.0), (9000, 9000))
BUSY = Disturbance(0.1, 2.1, 1.5, 0.0, (30.0, 30.0), (9000, 9000))
RESULTS = [
    Result("task_sync", "manta", 0, 6000.0, disturbance=CALM),
    Result("task_sync", "manta", 1, 5500.0, disturbance=CALM),
    Result("task_sync", "ray", 0, 500.0, disturbance=CALM),
    Result("task_sync", "ray", 1, 500.0, disturbance=BUSY),
    Result("shutdown", "manta", 0, 0.31, disturbance=CALM),
    Result("shutdown", "ray", 0, 2.9, disturbance=CALM),
    Result("put_large", "manta", 0, error="MemoryError: no\n  room", disturbance=CALM),
    Result("put_large", "ray", 0, 1.0, disturbance=CALM),
]


def test_the_table_shows_figures_ratios_goals_errors_and_doubts():
    assert table(SUMMARY, ROWS, RESULTS, quick=False).splitlines() == [
        "row        unit     manta                ray  times better       goal",
        "-" * 92,
        "task_sync  tasks/s  5,750 (5,500-6,000)  500  11.5x (11-12) ray  >= 10x ray *  met disturbed",
        "shutdown   s        0.31                 2.9  9.35x ray          <= 0.3        MISSED",
        "put_large  GB/s     error                1    -                  >= 9          -",
        "",
        "1 throughput rows: geometric mean 11.50x ray (goal 10), lowest 11.50x task_sync (goal 2): open",
        "without a ratio: put_large",
        "",
        "errors:",
        "  manta, round 1: MemoryError: no room (put_large)",
        "",
        "disturbed:",
        "  ray, round 2: others took 1.50 cores (task_sync)",
        "",
        "calibration: 30 M loop turns/s, 9,000 ping-pongs/s, 0 (0-1.5) cores used by others",
        "",
        "median (lowest-highest) over rounds; * decides; close: the spread crosses the goal;",
        "~peer: the difference is within the noise; disturbed: a round was taken while others used the machine",
    ]


def test_the_json_keeps_every_result_beside_the_judgement():
    document = as_json(SUMMARY, ROWS, RESULTS, {"cpus": 2}, {"rounds": 2})

    assert document["schema"] == 1
    assert [(row["name"], row["met"]) for row in document["rows"]] == [
        ("task_sync", True),
        ("shutdown", False),
        ("put_large", None),
    ]
    assert document["rows"][0]["times_better"] == {"ray": {"median": 11.5, "low": 11.0, "high": 12.0}}
    assert [result["value"] for result in document["results"]] == [6000.0, 5500.0, 500.0, 500.0, 0.31, 2.9, None, 1.0]
    assert document["results"][3]["doubt"] == "others took 1.50 cores"


def test_numbers_keep_three_digits_that_matter():
    assert [number(v) for v in (1234567.0, 123.4, 98.76, 0.012345, 0.0)] == ["1,234,567", "123", "98.8", "0.0123", "0"]
