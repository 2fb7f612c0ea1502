"""At no time do two instances lead, whatever clocks, pauses and lost answers do; and somebody leads again soon."""

from __future__ import annotations

import dataclasses
import random

import pytest

from manta_operator.kube.tenure import Create, Look, Record, Take, Tenure, Terms, read_record

TERMS = Terms(lease_s=15, renew_s=2.0, sure_s=9.0, write_s=5.0, look_s=1.0)


def record(holder, *, version="1", renewed="t1", transitions=0):
    return Record(version, holder, 15.0, renewed, transitions)


def test_where_there_is_no_lease_it_is_made_and_leads():
    """From when it was sent, not from when the answer came."""
    tenure = Tenure("me", TERMS)
    assert tenure.saw(None, 100.0) == Create()
    tenure.wrote(record("me"), 100.0)
    assert tenure.sure(108.9)
    assert not tenure.sure(109.0)


def test_another_holder_is_followed_once_it_was_silent_for_the_lease_by_our_own_clock():
    """Its renewTime is by its own clock, and only ever compared with itself."""
    tenure = Tenure("me", TERMS)
    assert tenure.saw(record("other"), 100.0) == Look(1.0)
    assert tenure.saw(record("other"), 114.5) == Look(0.5)
    assert tenure.saw(record("other"), 115.0) == Take(record("other"), 1)


def test_a_holder_that_renews_is_not_followed():
    """Each renewal counts from when we saw it."""
    tenure = Tenure("me", TERMS)
    tenure.saw(record("other"), 100.0)
    tenure.saw(record("other", version="2", renewed="t2"), 114.0)
    assert tenure.saw(record("other", version="2", renewed="t2"), 120.0) == Look(1.0)


def test_a_lease_that_was_given_back_is_taken_at_once():
    """A leader that ends well is followed within one look."""
    tenure = Tenure("me", TERMS)
    assert tenure.saw(record("", transitions=3), 100.0) == Take(record("", transitions=3), 4)


def test_a_renewal_whose_answer_was_lost_is_found_again():
    """The Lease is ours, as we see: no change of leaders."""
    tenure = Tenure("me", TERMS)
    assert tenure.saw(record("me", transitions=2), 100.0) == Take(record("me", transitions=2), 2)


def test_a_leader_that_sees_another_name_leads_no_more():
    """Even before its time is up."""
    tenure = Tenure("me", TERMS)
    tenure.wrote(record("me"), 100.0)
    tenure.saw(record("other"), 101.0)
    assert not tenure.sure(101.0)


@pytest.mark.parametrize(
    "wrong", [{"renew_s": 9.0}, {"sure_s": 10.0}, {"write_s": 6.0}, {"look_s": 0.0}, {"ask_s": 0.0}, {"ask_s": 7.0}]
)
def test_terms_under_which_two_could_lead_are_refused(wrong):
    """A write that begins at the last moment ends before anybody else may begin one."""
    with pytest.raises(ValueError, match="got Terms"):
        dataclasses.replace(TERMS, **wrong)


@pytest.mark.parametrize("spec", [None, {}, {"leaseDurationSeconds": "x", "leaseTransitions": None, "renewTime": 3}])
def test_a_lease_that_says_nothing_is_one_that_nobody_holds(spec):
    """Somebody may have made it by hand."""
    assert read_record({"metadata": {}, "spec": spec}, 15.0).holder == ""
    assert read_record({"metadata": {}, "spec": spec}, 15.0).lease_s == 15.0


class Machine:
    """One instance: its clock runs from anywhere; it may be paused, its requests lost, or done and not answered."""

    def __init__(self, name, seed):
        self.random = random.Random(f"{name}{seed}")
        self.tenure = Tenure(name, TERMS)
        self.skew = self.random.uniform(0, 1e6)
        self.known = None
        self.at = 0.0

    def step(self, api, now):
        """Look, and write; returns when it steps again."""
        mine = now + self.skew
        if self.random.random() < 0.05:
            return now + self.random.uniform(5, 40)  # paused, in the middle of anything
        if self.tenure.sure(mine) and self.known is not None:
            move = Take(self.known, self.known.transitions)
        else:
            if self.random.random() < 0.2:
                return now + TERMS.ask_s
            move = self.tenure.saw(api.record, mine)
        if isinstance(move, Look):
            return now + move.after_s
        arrives, answered = self.random.random() > 0.2, self.random.random() > 0.2
        written = api.write(move, self.tenure.identity) if arrives else None
        if not (arrives and answered):
            self.known = None
            return now + TERMS.ask_s
        if written is None:
            self.tenure.refused()
            self.known = None
            return now + 0.1
        self.known = written
        self.tenure.wrote(written, mine)
        return now + TERMS.renew_s


class Api:
    """The Lease: writes of an old version are refused."""

    def __init__(self):
        self.record, self.count = None, 0

    def write(self, move, identity):
        if (self.record.version if self.record else None) != (move.record.version if isinstance(move, Take) else None):
            return None
        self.count += 1
        transitions = move.transitions if isinstance(move, Take) else 0
        self.record = Record(str(self.count), identity, float(TERMS.lease_s), f"{identity}-{self.count}", transitions)
        return self.record


@pytest.mark.parametrize("seed", range(20))
def test_at_no_time_two_are_sure(seed):
    """Three instances, with pauses, lost requests and lost answers; a write may end `write_s` after it began."""
    api, machines = Api(), [Machine(name, seed) for name in "abc"]
    last_sure = {}
    led = set()
    for tick in range(20_000):
        now = tick * 0.05
        for machine in machines:
            if now >= machine.at:
                machine.at = machine.step(api, now)
        sure = [machine.tenure.identity for machine in machines if machine.tenure.sure(now + machine.skew)]
        assert len(sure) <= 1
        for name in sure:
            led.add(name)
            others = [at for other, at in last_sure.items() if other != name]
            assert all(now - at >= TERMS.write_s for at in others), "a write of the last leader may still be under way"
            last_sure[name] = now
    assert len(led) > 1
