# Tasks side by side, arrays, and an actor that counts who called it. Ends without shutdown.

# %% 1
import logging
import os
import random
import time

import numpy as np
from numpy import loadtxt

import ray

SCALE = float(os.environ["PROGRAM_TIME_SCALE"])

# %% 2
if ray.is_initialized:
    ray.shutdown()
ray.init(num_cpus=6, logging_level=logging.ERROR)
None


# %% 3
def do_some_work(x):
    time.sleep(1 * SCALE)
    return x


# %% 4
[do_some_work(x) for x in range(5)]


# %% 5
@ray.remote
def do_some_work(x):
    time.sleep(1 * SCALE)
    return x


# %% 6
ray.get([do_some_work.remote(x) for x in range(5)])  # starts the workers

# %% 10
ray.get([do_some_work.remote(x) for x in range(5)])

# %% 11
DATA = os.path.join(os.pardir, "p001_tasks_tour", "data")


@ray.remote
def read_array(fn: str) -> np.array:
    return loadtxt(fn, comments="#", delimiter=",", unpack=False).astype("int")


@ray.remote
def add_array(arr1: np.array, arr2: np.array) -> np.array:
    return np.add(arr1, arr2)


@ray.remote
def sum_array(arr1: np.array) -> int:
    return np.sum(arr1)


# %% 15
arr1 = read_array.remote(os.path.join(DATA, "file_1.txt"))
arr2 = read_array.remote(os.path.join(DATA, "file_2.txt"))
added = add_array.remote(arr1, arr2)
(ray.get(added) == ray.get(arr1) + ray.get(arr2)).all()

# %% 19
print(f"Sum of arr1: {ray.get(sum_array.remote(arr1))}")
print(f"Sum of arr2: {ray.get(sum_array.remote(arr2))}")

# %% 31
CALLERS = ["A", "B", "C"]


@ray.remote
class MethodStateCounter:
    def __init__(self):
        self.invokers = {"A": 0, "B": 0, "C": 0}

    def invoke(self, name):
        time.sleep(0.5 * SCALE)
        self.invokers[name] += 1
        return self.invokers[name]

    def get_invoker_state(self, name):
        return self.invokers[name]

    def get_all_invoker_state(self):
        return self.invokers


# %% 32
worker_invoker = MethodStateCounter.remote()
print(worker_invoker)

# %% 33
for _ in range(10):
    name = random.choice(CALLERS)
    worker_invoker.invoke.remote(name)
ray.get(worker_invoker.get_all_invoker_state.remote())

# %% 34
for _ in range(5):
    name = random.choice(CALLERS)
    count = ray.get(worker_invoker.invoke.remote(name))
    print(f"{name} {count}")
ray.get(worker_invoker.get_all_invoker_state.remote())


# %% 35
@ray.remote
def pid_of(handle):
    return ray.get(handle.__ray_call__.remote(lambda self: os.getpid()))


print(ray.get(pid_of.remote(worker_invoker)))
