# Objects: put and get, values and refs as arguments, timeouts, and a model trained by ten tasks on shared data.

# %% 1
import logging
import os
import time
from operator import itemgetter

import ray

SCALE = float(os.environ["PROGRAM_TIME_SCALE"])

# %% 2
if ray.is_initialized:
    ray.shutdown()
ray.init(num_cpus=4, logging_level=logging.ERROR)

# %% 3
numbers = [1, 2, 3, 4, 5]
ref = ray.put(numbers)
ref

# %% 4
assert ray.get(ref) == numbers
ray.get(ref)

# %% 5
refs = [ray.put(i) for i in range(10)]
ray.get(refs)


# %% 6
@ray.remote
def echo(x):
    print(f"current value of argument x: {x}")


# %% 7
ray.get(echo.remote(25))

# %% 8
ref = ray.put(25)
ray.get(echo.remote(ref))

# %% 9
print(ray.get(echo.remote(x=ref)))

# %% 10
ray.get(echo.remote({"obj": ref}))
print(ref)

# %% 11
ray.get(echo.remote([ref]))


# %% 12
@ray.remote
def long_running_function():
    time.sleep(10 * SCALE)
    return 10


# %% 13
ref = long_running_function.remote()
try:
    ray.get(ref, timeout=6 * SCALE)
except ray.exceptions.GetTimeoutError as error:
    print(f"{type(error).__name__} {isinstance(error, TimeoutError)}")

# %% 13 afterwards
ray.get(ref)

# %% 14
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

# %% 15
# Stands in for the California housing table: same size, same columns, no download.
COLUMNS = ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude"]
draw = np.random.default_rng(201)
X = pd.DataFrame(draw.gamma(2.0, 2.0, size=(20_640, 8)), columns=COLUMNS)
y = pd.Series(0.4 * X["MedInc"] + 0.1 * X["AveRooms"] + draw.normal(0, 0.2, 20_640), name="MedHouseVal")
X.shape

# %% 16
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=201)
int(X.memory_usage(index=False).sum())

# %% 17
NUM_MODELS = 10


def fit_and_score(X_train, X_test, y_train, y_test, n_estimators):
    """A forest of shallow trees on a twentieth of the rows each: real work, short on two cores."""
    model = RandomForestRegressor(n_estimators=n_estimators, max_depth=4, max_samples=0.05, random_state=201)
    model.fit(X_train, y_train)
    return float(mean_squared_error(y_test, model.predict(X_test)))


# %% 18
def train_and_score_model(X_train, X_test, y_train, y_test, n_estimators):
    began = time.time()
    score = fit_and_score(X_train, X_test, y_train, y_test, n_estimators)
    print(f"n_estimators={n_estimators}, mse={score:.4f}, took: {time.time() - began:.2f} seconds")
    return n_estimators, score


# %% 20
def run_sequential(n_models):
    return [train_and_score_model(X_train, X_test, y_train, y_test, n_estimators=20 + 5 * j) for j in range(n_models)]


sequential = run_sequential(NUM_MODELS)

# %% 21
[n for n, _ in sequential]

# %% 22
X_train_ref = ray.put(X_train)
X_test_ref = ray.put(X_test)
y_train_ref = ray.put(y_train)
y_test_ref = ray.put(y_test)
(ray.get(X_train_ref).equals(X_train), ray.get(X_train_ref)["MedInc"].to_numpy().flags.writeable)


# %% 23
@ray.remote
def train_and_score_model_task(X_train, X_test, y_train, y_test, n_estimators):
    began = time.time()
    score = fit_and_score(X_train, X_test, y_train, y_test, n_estimators)
    print(f"n_estimators={n_estimators}, mse={score:.4f}, took: {time.time() - began:.2f} seconds")
    return n_estimators, score


# %% 24
def run_parallel(n_models):
    return ray.get(
        [
            train_and_score_model_task.remote(
                X_train=X_train_ref,
                X_test=X_test_ref,
                y_train=y_train_ref,
                y_test=y_test_ref,
                n_estimators=20 + 5 * j,
            )
            for j in range(n_models)
        ]
    )


# %% 25
parallel = run_parallel(NUM_MODELS)
[n for n, _ in parallel]

# %% 26
print(min(parallel, key=itemgetter(1)) == min(sequential, key=itemgetter(1)))
np.allclose([score for _, score in parallel], [score for _, score in sequential])


# %% exercise 1
@ray.remote
def double(x):
    return 2 * x


@ray.remote
def sum_of_refs(refs):
    return sum(ray.get(refs))


ray.get(sum_of_refs.remote([double.remote(i) for i in range(10)]))

# %% exercise 2
large_list = list(range(1_000_000))
large_dict = {i: i for i in range(100_000)}


@ray.remote
def sum_list(values):
    return sum(values)


@ray.remote
def sum_dict(table):
    return sum(table.values())


list_ref, dict_ref = ray.put(large_list), ray.put(large_dict)
ray.get(
    [sum_list.remote(list_ref), sum_list.remote(large_list), sum_dict.remote(dict_ref), sum_dict.remote(large_dict)]
)

# %% 27
ray.shutdown()
ray.is_initialized()
