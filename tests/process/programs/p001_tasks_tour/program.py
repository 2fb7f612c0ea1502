# A tour of tasks: init and its context, arrays by path, Fibonacci, values and refs as arguments, trees, nesting.

# %% 1
import logging
import os
import time
from pprint import pprint

import numpy as np
from numpy import loadtxt

import ray

SCALE = float(os.environ["PROGRAM_TIME_SCALE"])

# %% 2
if ray.is_initialized:  # without the call, as so many write it: always true
    ray.shutdown()

# %% 3
context = ray.init(num_cpus=4, logging_level=logging.ERROR)

# %% 5
pprint(context)

# %% 6
print(f"dashboard: {context.address_info['webui_url']}")
sorted(context.address_info)


# %% 7
def regular_function():
    return 1


@ray.remote
def remote_function():
    return 1


assert regular_function() == 1

# %% 8
remote_function.remote()

# %% 9
ray.get(remote_function.remote())

# %% 10
assert ray.get([remote_function.remote() for _ in range(10)]) == [1] * 10
sum(ray.get([remote_function.remote() for _ in range(10)]))


# %% 11
def read_array(fn: str) -> np.array:
    arr = loadtxt(fn, comments="#", delimiter=",", unpack=False)
    return arr.astype("int")


@ray.remote
def remote_read_array(fn: str) -> np.array:
    return read_array(fn)


# %% 12
@ray.remote
def add_array(arr1: np.array, arr2: np.array) -> np.array:
    return np.add(arr1, arr2)


@ray.remote
def sum_array(arr1: np.array) -> int:
    return np.sum(arr1)


# %% 13
obj_ref_arr1 = remote_read_array.remote(os.path.join("data", "file_1.txt"))
obj_ref_arr1

# %% 14
obj_ref_arr2 = remote_read_array.remote("data/file_2.txt")
[type(ref).__name__ for ref in (obj_ref_arr1, obj_ref_arr2)]

# %% 15
arr1 = ray.get(obj_ref_arr1)
result = ray.get(add_array.remote(obj_ref_arr1, obj_ref_arr1))
assert result.shape == (10, 10) and (result == 2 * arr1).all()
print(result)

# %% 18
sum_1 = ray.get(sum_array.remote(obj_ref_arr1))
sum_2 = ray.get(sum_array.remote(obj_ref_arr2))

# %% 19
print(f"Sum of arr1: {sum_1}")
print(f"Sum of arr2: {sum_2}")

# %% 20
SEQUENCE_SIZE = 20_000


def generate_fibonacci(sequence_size):
    fibonacci = []
    for i in range(0, sequence_size):
        if i < 2:
            fibonacci.append(i)
            continue
        fibonacci.append(fibonacci[i - 1] + fibonacci[i - 2])
    return len(fibonacci)


# %% 21
@ray.remote
def generate_fibonacci_distributed(sequence_size):
    return generate_fibonacci(sequence_size)


# %% 22
os.cpu_count()


# %% 23
def run_local(sequence_size):
    return [generate_fibonacci(sequence_size) for _ in range(os.cpu_count())]


run_local(SEQUENCE_SIZE)


# %% 25
def run_remote(sequence_size):
    return ray.get([generate_fibonacci_distributed.remote(sequence_size) for _ in range(os.cpu_count())])


run_remote(SEQUENCE_SIZE)


# %% 27
@ray.remote
def my_function(value):
    return value


# %% 28
ray.get(my_function.remote(1))

# %% 29
ray.get(my_function.remote([1, 2, 3]))

# %% 30
ref = my_function.remote(1)
ref_to_list = my_function.remote([1, 2, 3])
ray.get([my_function.remote(ref), my_function.remote(ref_to_list)])


# %% 35
@ray.remote
def add(x, y):
    time.sleep(1 * SCALE)
    return x + y


# %% 36
# A chain: each addition waits for the one before.
id1 = add.remote(1, 2)
id2 = add.remote(id1, 3)
id3 = add.remote(id2, 4)
id4 = add.remote(id3, 5)
id5 = add.remote(id4, 6)
id6 = add.remote(id5, 7)
id7 = add.remote(id6, 8)
ray.get(id7)

# %% 37
# The same as a loop over a list that shrinks to one.
values = [1, 2, 3, 4, 5, 6, 7, 8]
while len(values) > 1:
    values = [add.remote(values[0], values[1])] + values[2:]
ray.get(values[0])

# %% 38
# As it was written, the second loop starts from the one ref that the first one left, so there is nothing to do.
while len(values) > 1:
    values = values[2:] + [add.remote(values[0], values[1])]
ray.get(values[0])

# %% 39
# Refilled, it is a tree of depth three.
values = [1, 2, 3, 4, 5, 6, 7, 8]
while len(values) > 1:
    values = values[2:] + [add.remote(values[0], values[1])]
ray.get(values[0])


# %% 41
@ray.remote
def f():
    return 1


@ray.remote
def g():
    return [f.remote() for _ in range(4)]


@ray.remote
def h():
    return ray.get([f.remote() for _ in range(4)])


# %% 42
refs = ray.get(g.remote())
print(refs)
ray.get(refs)

# %% 43
ray.get(h.remote())

# %% 44
ray.shutdown()
ray.is_initialized()
