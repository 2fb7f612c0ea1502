# Remote functions: init twice, resources, redefinition, asynchronous submission.

# %% 1
import logging
import os
import random
import time

import ray

SCALE = float(os.environ["PROGRAM_TIME_SCALE"])

# %% 19
if ray.is_initialized:
    ray.shutdown()
first = ray.init(num_cpus=4, ignore_reinit_error=True, logging_level=logging.ERROR)
second = ray.init(ignore_reinit_error=True, logging_level=logging.ERROR)
print(ray.is_initialized())

# %% 19 resources
resources = ray.cluster_resources()
print(sorted(name if not name.startswith("node:") else name.split(".")[0] for name in resources))
resources["CPU"]


# %% 20
def remote_hi():
    return 41


remote_hi()


# %% 21
@ray.remote
def remote_hi():
    return 42


# %% 22
ref = remote_hi.remote()
ref

# %% 23
ray.get(ref)

# %% 24
print(ray.get(remote_hi.remote()))


# %% 25
@ray.remote
def slow_random(i):
    time.sleep(5 * SCALE)
    return random.randint(0, 9)


# %% 26
refs = []
for i in range(4):
    refs.append(slow_random.remote(i))
    print(i)
print(refs)

# %% 27
for ref in refs:
    print(ray.get(ref))

# %% 28
refs = [slow_random.remote(i) for i in range(4)]

# %% 29
ray.get(refs)

# %% 30
[ray.get(ref) for ref in [slow_random.remote(i) for i in range(4)]]

# %% 31
ray.get([slow_random.remote(i) for i in range(4)])

# %% 34
ray.shutdown()
ray.is_initialized()
