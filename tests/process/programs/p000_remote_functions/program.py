# Remote functions: order of completion, failing and slow tasks, pipelines, nested refs.

# %% 0
import os

SCALE = float(os.environ["PROGRAM_TIME_SCALE"])
WEB = os.environ["PROGRAM_WEB"]

# %% 1
from typing import Tuple

import random
import threading
import time

import ray

ray.init(num_cpus=10)


# %% 2
@ray.remote
def remote_task(x):
    time.sleep(x * SCALE)
    return x


things = list(range(20))
things.sort(reverse=True)


# %% 3
def in_order():
    """One get for everything: nothing is printed before the slowest is done."""
    refs = list(map(lambda x: remote_task.remote(x), things))
    for value in ray.get(refs):
        print(f" Completed {value}")
        time.sleep(1 * SCALE)


in_order()


# %% 4
def as_available():
    """Take results one by one as they come."""
    pending = list(map(lambda x: remote_task.remote(x), things))
    while len(pending) > 0:
        ready, rest = ray.wait(pending)
        print(f"Ready {len(ready)} rest {len(rest)}")
        for ref in ready:
            print(f"completed value {ref}, result {ray.get(ref)}")
            time.sleep(1 * SCALE)
        pending = rest


as_available()


# %% 5
# As it was written: Linux refuses so long a sleep, so the second task is ready first, and has failed.
@ray.remote
def remote_task(x):
    time.sleep(x)
    return x


pending = list(map(lambda x: remote_task.remote(x), [1, threading.TIMEOUT_MAX]))
while len(pending) > 0:
    ready, rest = ray.wait(pending, timeout=10, num_returns=1)
    if len(ready) < 1:
        print(f"Timed out on {rest}")
        ray.cancel(*rest)
        break
    for ref in ready:
        print(f"completed value {ref}, result {ray.get(ref)}")
        pending = rest

# %% 5 caught
# The same error, caught as what it is on both sides.
caught = []
for kind in (OSError, ray.exceptions.RayTaskError):
    try:
        ray.get(remote_task.remote(threading.TIMEOUT_MAX))
    except kind as error:
        caught.append((kind.__name__, isinstance(error, OSError), isinstance(error, ray.exceptions.RayTaskError)))
caught

# %% 5 variant
# What it was meant to show: one that never ends in time.
pending = list(map(lambda x: remote_task.remote(x), [1, 1000]))
while len(pending) > 0:
    ready, rest = ray.wait(pending, timeout=10 * SCALE + 2, num_returns=1)
    if len(ready) < 1:
        print(f"Timed out on {rest}")
        ray.cancel(*rest)
        break
    for ref in ready:
        print(f"completed value {ref}, result {ray.get(ref)}")
        pending = rest

# %% 6
remote_task.remote(1)


# %% 7
@ray.remote
def generate_number(s: int, limit: int, sl: float) -> int:
    random.seed(s)
    time.sleep(sl)
    return random.randint(0, limit)


@ray.remote
def sum_values(v1: int, v2: int, v3: int) -> int:
    return v1 + v2 + v3


print(
    ray.get(
        sum_values.remote(
            generate_number.remote(1, 10, 0.1), generate_number.remote(5, 20, 0.2), generate_number.remote(7, 15, 0.3)
        )
    )
)


# %% 8
# Refs inside a list stay refs, so this one fails.
@ray.remote
def sum_values(values: []) -> int:
    return sum(values)


print(
    ray.get(
        sum_values.remote(
            [generate_number.remote(1, 10, 0.1), generate_number.remote(5, 20, 0.2), generate_number.remote(7, 15, 0.3)]
        )
    )
)


# %% 8 repaired
@ray.remote
def sum_values(values: []) -> int:
    return sum(ray.get(values))


print(
    ray.get(
        sum_values.remote(
            [generate_number.remote(1, 10, 0.1), generate_number.remote(5, 20, 0.2), generate_number.remote(7, 15, 0.3)]
        )
    )
)


# %% 9
@ray.remote
def generate_number(s: int, limit: int) -> int:
    random.seed(s)
    time.sleep(0.1)
    return random.randint(0, limit)


@ray.remote
def remote_objrefs():
    refs = []
    for n in range(4):
        refs.append(generate_number.remote(n, 4 * n))
    return refs


@ray.remote
def remote_values():
    refs = []
    for n in range(4):
        refs.append(generate_number.remote(n, 4 * n))
    return ray.get(refs)


print(ray.get(remote_values.remote()))
pending = ray.get(remote_objrefs.remote())
while len(pending) > 0:
    ready, rest = ray.wait(pending, timeout=600, num_returns=1)
    if len(ready) < 1:
        ray.cancel(*rest)
        break
    for ref in ready:
        print(f"completed result {ray.get(ref)}")
        pending = rest


# %% 10
@ray.remote
def fetch(url: str) -> Tuple[str, str]:
    import urllib.request

    with urllib.request.urlopen(url) as response:
        return (url, response.read())


@ray.remote
def has_spam(site_text: Tuple[str, str]) -> bool:
    import urllib.request

    with urllib.request.urlopen(WEB + "/spammers.txt") as response:
        for spammer in response.readlines():
            if spammer in site_text[1]:
                return True
    return False


@ray.remote
def fake_spam1(us: Tuple[str, str]) -> bool:
    time.sleep(10 * SCALE)
    return random.randrange(10) == 1


@ray.remote
def fake_spam2(us: Tuple[str, str]) -> bool:
    time.sleep(5 * SCALE)
    return random.randrange(10) > 4


@ray.remote
def combine_is_spam(us: Tuple[str, str], model1: bool, model2: bool, model3: bool) -> Tuple[str, str, bool]:
    return model1 * 0.2 + model2 * 0.4 + model3 * 0.4 > 0.2


# %% 11
urls = [WEB + "/one.html", WEB + "/two.html", WEB + "/three.html"]
sites = map(lambda url: fetch.remote(url), urls)  # lazy: nothing runs before the list() below
models = map(lambda us: [us, has_spam.remote(us), fake_spam1.remote(us), fake_spam2.remote(us)], sites)
verdicts = map(lambda i: combine_is_spam.remote(*i), models)

not_ready = list(verdicts)
while len(not_ready) > 0:
    ready, not_ready = ray.wait(not_ready, num_returns=1)
    if len(ready) < 1:
        raise Exception("no verdict")
    print(ray.get(ready))
