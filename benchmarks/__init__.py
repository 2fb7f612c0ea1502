"""The side-by-side benchmark: Manta, Ray, Dask and ProcessPoolExecutor on the same rows, on the same machine, in the same hour.

`python -m benchmarks` (or `python benchmarks/run.py`) runs it; `python -m benchmarks.where ROW` says where a call's
microseconds go.

    rows.toml   what is measured and what is good enough      rows.py      reads it, refuses nonsense
    plan.py     who runs when (pure)                          cell.py      the fresh process that measures one group on one system
    drive.py    starts cells, watches and ends them           timing.py    how a figure is taken
    procs.py    /proc: CPU, memory, who belongs to a cell     noise.py     calibration and other people's load
    stats.py    spread, ratios, verdicts (pure)               report.py    the table and the JSON
    systems/    one adapter per system                        lifecycle/   tiny scripts that import, init, run one task, stop

Not here: tests that assert times (there are none), and measurements of one function (benchmarks/micro/).
"""
