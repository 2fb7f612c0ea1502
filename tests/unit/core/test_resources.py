import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from manta.core import resources
from manta.core.resources import EMPTY, GPU, UNIT, Devices, ResourceSet, request, to_fixed

NAMES = st.sampled_from(["CPU", "GPU", "memory", "x", "accelerator_type:A100"])
AMOUNTS = st.dictionaries(NAMES, st.integers(0, 50_000))

# --- what users write


@pytest.mark.parametrize(
    ("quantity", "parts"),
    [
        (0, 0),
        (0.0, 0),
        (1, 10_000),
        (0.5, 5_000),
        (0.0001, 1),
        (0.57, 5_700),
        (0.29, 2_900),
        (1 / 3, 3_333),
        (2 / 3, 6_666),
        (0.00015, 1),
        (200 * 10**9, 2_000_000_000_000_000),
    ],
)
def test_what_users_write_becomes_parts(quantity, parts):
    assert to_fixed("x", quantity) == parts


@given(st.integers(0, 10**8))
def test_every_whole_number_of_parts_can_be_written_as_a_float(parts):
    assert to_fixed("x", parts / UNIT) == parts


@given(st.integers(2, 5_000))
def test_an_nth_of_a_thing_fits_n_times(n):
    """Rounding down is what makes six sixths fit."""
    assert n * to_fixed("x", 1 / n) <= UNIT


@pytest.mark.parametrize("wrong", ["1", True, False, None, [1], 1j, b"1"])
def test_what_is_no_number_is_a_type_error_that_names_resource_and_type(wrong):
    with pytest.raises(TypeError, match=r"resource num_cpus must be an int or a float, but received type <class"):
        to_fixed("num_cpus", wrong)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (-1, "cannot be negative"),
        (-(10**5000), "cannot be negative, got -2"),
        (-0.5, "cannot be negative"),
        (-math.inf, "cannot be negative"),
        (math.nan, "cannot be NaN"),
        (math.inf, "cannot be larger than 922337203685477"),
        (1e308, "cannot be larger than"),
        (10**5000, "cannot be larger than"),
        (0.00001, "cannot go beyond 0.0001"),
        (5e-324, "cannot go beyond 0.0001"),
    ],
    ids=range(10),
)
def test_a_bad_amount_is_a_value_error_that_names_the_resource(wrong, text):
    with pytest.raises(ValueError, match=f"resource num_cpus {text}|resource num_cpus.*{text}"):
        to_fixed("num_cpus", wrong)


@pytest.mark.parametrize(
    ("given_", "kind", "text"),
    [
        ({"CPU": 1}, ValueError, "Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU'"),
        ({"GPU": 1}, ValueError, "Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU'"),
        ({"memory": 1}, ValueError, "must not contain the key 'memory' or 'object_store_memory'"),
        ({"object_store_memory": 1}, ValueError, "must not contain the key 'memory' or 'object_store_memory'"),
        ({"bundle": 1}, ValueError, "should not include `bundle`"),
        ({"": 1}, ValueError, "cannot be a resource's name"),
        ({"a\nb": 1}, ValueError, "cannot be a resource's name"),
        ({"a\0": 1}, ValueError, "cannot be a resource's name"),
        ({" a": 1}, ValueError, "cannot be a resource's name"),
        ({"a" * 65_536: 1}, ValueError, "1 to 256 printable characters"),
        ({1: 1}, TypeError, "name must be a string"),
        ({"x": "1"}, TypeError, "quantity of resource x must be"),
        ({"x": None}, TypeError, "quantity of resource x must be"),
        ({"x": -1}, ValueError, "quantity of resource x cannot be negative"),
        ([1], TypeError, "'resources' must be a dict"),
    ],
)
def test_bad_custom_resources_are_refused(given_, kind, text):
    with pytest.raises(kind, match=text) as refused:
        request(resources=given_)
    assert len(str(refused.value)) < 400


def test_a_request_gathers_what_was_asked_for():
    wanted = request(num_cpus=1.5, num_gpus=2, memory=1000, resources={"x": 0.25, "none": 0}, accelerator_type="A100")

    assert dict(wanted) == {
        "CPU": 15_000,
        "GPU": 20_000,
        "memory": 10_000_000,
        "x": 2_500,
        "accelerator_type:A100": 10,
    }
    assert request() == request(num_cpus=0) == EMPTY
    assert not EMPTY


@pytest.mark.parametrize("gpus", [1.5, 2.0001])
def test_more_than_one_gpu_is_asked_for_in_whole(gpus):
    with pytest.raises(ValueError, match=rf"GPU resource quantities >1 must be whole numbers.*{gpus}"):
        request(num_gpus=gpus)


def test_memory_is_counted_in_whole_bytes():
    assert request(memory=1.5).get("memory") == UNIT
    assert request(memory=0.5).get("memory") == UNIT


def test_amounts_are_shown_as_users_wrote_them():
    amounts = {"GPU": 5_000, "CPU": 20_000, "x": 0}

    assert resources.to_floats(amounts) == {"CPU": 2.0, "GPU": 0.5}
    assert resources.to_floats(amounts, zeros=True) == {"CPU": 2.0, "GPU": 0.5, "x": 0.0}
    assert resources.show(amounts) == "{CPU: 2, GPU: 0.5}"
    assert repr(ResourceSet(amounts)) == "ResourceSet({CPU: 2, GPU: 0.5})"


# --- arithmetic


@given(AMOUNTS, AMOUNTS)
def test_what_was_taken_and_given_back_is_there_again(total, wanted):
    free = dict(total)
    if resources.fits(free, wanted):
        resources.subtract(free, wanted)
        assert all(amount >= 0 for amount in free.values())
        resources.add(free, wanted)
    else:
        with pytest.raises(ValueError, match="is missing"):
            resources.subtract(free, wanted)
    assert {name: amount for name, amount in free.items() if amount} == {
        name: amount for name, amount in total.items() if amount
    }


@given(AMOUNTS, AMOUNTS)
def test_it_fits_when_nothing_is_missing(total, wanted):
    assert resources.fits(total, wanted) == (not resources.missing(total, wanted))
    assert ResourceSet(wanted).fits(total) == resources.fits(total, wanted)


@given(AMOUNTS)
def test_a_shape_is_one_key_however_it_was_written(amounts):
    shape = ResourceSet(amounts)
    backwards = ResourceSet(dict(reversed(amounts.items())))

    assert shape.key == backwards.key == tuple(sorted((n, a) for n, a in amounts.items() if a))
    assert (shape, hash(shape)) == (backwards, hash(backwards))
    assert pickle.loads(pickle.dumps(shape)) == shape
    assert len(shape) == len(shape.key)


@given(AMOUNTS, AMOUNTS)
def test_sets_add_and_subtract(one, other):
    assert (ResourceSet(one) + ResourceSet(other)) - ResourceSet(other) == ResourceSet(one)


def test_a_woken_worker_may_take_more_than_is_free():
    free = {"CPU": 0}
    resources.subtract(free, {"CPU": UNIT}, floor=False)

    assert free == {"CPU": -UNIT}
    assert resources.utilisation({"CPU": 2 * UNIT}, free) == 1.5


def test_a_request_cannot_be_negative():
    with pytest.raises(ValueError, match="cannot be negative"):
        ResourceSet({"CPU": -1})


def test_utilisation_is_that_of_the_scarcest():
    total = {"CPU": 40_000, "GPU": 10_000, "x": 10_000}

    assert resources.utilisation(total, total) == 0.0
    assert resources.utilisation(total, {"CPU": 10_000, "GPU": 5_000, "x": 0}) == 0.75
    assert resources.utilisation(total, {}, ["x"]) == 1.0
    assert resources.utilisation({}, {}) == 0.0


# --- devices


def test_whole_devices_are_given_lowest_first_and_parts_where_least_is_left():
    devices = Devices(["0", "1", "2"])

    assert devices.take(5_000) == (("0", 5_000),)
    assert devices.take(UNIT) == (("1", UNIT),)
    assert devices.take(2_500) == (("0", 2_500),)
    assert devices.take(2 * UNIT) is None
    assert devices.take(7_000) == (("2", 7_000),)
    assert devices.take(3_000) == (("2", 3_000),)
    assert devices.take(0) == ()
    assert devices.free() == {"0": 2_500, "1": 0, "2": 0}


def test_what_was_not_given_cannot_be_given_back():
    devices = Devices(["0"])
    for wrong in ((("0", 1),), (("1", 1),)):
        with pytest.raises(ValueError, match="was not given"):
            devices.give_back(wrong)
    assert devices.free() == {"0": UNIT}


def test_a_fraction_above_one_device_means_no_assignment():
    with pytest.raises(ValueError, match="given whole"):
        Devices(["0", "1"]).take(15_000)


class DevicesMachine(RuleBasedStateMachine):
    """Whatever is taken and given back, no device is given twice and none gets lost."""

    def __init__(self) -> None:
        super().__init__()
        self.devices = Devices(["0", "1", "2", "3"])
        self.given: list[tuple[tuple[str, int], ...]] = []

    @rule(amount=st.one_of(st.integers(1, UNIT), st.integers(1, 5).map(lambda n: n * UNIT)))
    def take(self, amount: int) -> None:
        free = self.devices.free()
        taken = self.devices.take(amount)
        possible = (
            any(left >= amount for left in free.values())
            if amount < UNIT
            else sum(left == UNIT for left in free.values()) * UNIT >= amount
        )
        assert (taken is not None) == possible
        if taken:
            assert sum(share for _, share in taken) == amount
            self.given.append(taken)

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if self.given:
            self.devices.give_back(self.given.pop(data.draw(st.integers(0, len(self.given) - 1))))

    @invariant()
    def conserved(self) -> None:
        used = dict.fromkeys("0123", 0)
        for taken in self.given:
            for name, share in taken:
                used[name] += share
        assert self.devices.free() == {name: UNIT - share for name, share in used.items()}


TestDevices = DevicesMachine.TestCase


def test_the_resource_is_called_as_users_know_it():
    assert (GPU, resources.ACCELERATOR_SHARE / UNIT) == ("GPU", 0.001)
