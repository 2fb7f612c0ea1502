"""What user code measures in workers and drivers is told by the node's port."""

import pytest

import manta
from manta.util.metrics import Counter, Gauge, Histogram
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster


def _job() -> str:
    return manta.get_runtime_context().get_job_id()


def test_counters_of_several_workers_are_added_up(ports):
    counter = Counter("pages", "Pages read.", tag_keys=("kind",))

    @manta.remote
    def read(number):
        counter.inc(number, tags={"kind": "a"})

    manta.get([read.remote(number) for number in (1, 2, 3)])
    counter.inc(tags={"kind": "b"})

    key = "manta_user_pages_total"
    wait_until(lambda: ports.scrape(ports.raylet).get((key, _job(), "a")) == 6)
    wait_until(lambda: ports.scrape(ports.raylet).get((key, _job(), "b")) == 1)


def test_a_gauge_is_told_for_each_process_and_goes_with_it(ports):
    @manta.remote
    class Holder:
        def set(self, value):
            Gauge("depth", tag_keys=()).set(value)

    holder = Holder.remote()
    manta.get(holder.set.remote(7))

    def depths():
        return [value for key, value in ports.scrape(ports.raylet).items() if key[0] == "manta_user_depth"]

    wait_until(lambda: depths() == [7])
    manta.get(holder.set.remote(3))
    wait_until(lambda: depths() == [3])
    manta.kill(holder)
    wait_until(lambda: depths() == [])


def test_a_histogram_counts_by_its_own_bounds(ports):
    histogram = Histogram("size", boundaries=[1, 10], tag_keys=())
    for value in (0.5, 5, 50):
        histogram.observe(value)

    wait_until(lambda: ports.scrape(ports.raylet).get(("manta_user_size_count", _job())) == 3)
    found = ports.scrape(ports.raylet)
    assert 1 == found["manta_user_size_bucket", _job(), "1.0"]
    assert 2 == found["manta_user_size_bucket", _job(), "10.0"]
    assert 55.5 == found["manta_user_size_sum", _job()]


def test_tasks_that_ended_are_counted_and_timed(ports):
    @manta.remote
    def well():
        return 1

    @manta.remote(max_retries=0)
    def badly():
        raise ValueError("no")

    before = ports.scrape(ports.raylet)
    manta.get([well.remote() for _ in range(50)])
    with pytest.raises(ValueError, match="no"):
        manta.get(badly.remote())

    def grown(*key):
        return ports.scrape(ports.raylet)[key] - before[key]

    wait_until(lambda: grown("manta_tasks_ended_total", "FAILED") == 1)
    wait_until(lambda: grown("manta_tasks_ended_total", "FINISHED") >= 50)
    assert grown("manta_task_execution_seconds_count") >= 51


def test_labels_that_explode_do_not(ports):
    """Ten thousand values of a tag: a bounded number of series, the rest dropped and counted, and the node goes on."""
    counter = Counter("visits", tag_keys=("user",))

    @manta.remote
    def visit(batch):
        for number in range(500):
            counter.inc(tags={"user": f"{batch}-{number}"})

    manta.get([visit.remote(batch) for batch in range(20)])

    wait_until(lambda: ports.scrape(ports.raylet).get(("manta_user_metrics_dropped_total", "series"), 0) > 0)
    series = [key for key in ports.scrape(ports.raylet) if key[0] == "manta_user_visits_total"]
    assert len(series) <= 1000
