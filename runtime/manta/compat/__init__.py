"""The `ray` alias: programs that say `import ray` run on Manta, unchanged.

    python -m manta.compat script.py args...      (also -m module, -c code)

or, before the first `import ray`:

    import manta.compat
    manta.compat.install()

`ray` and everything below it then *is* Manta: `ray.util.queue` and `manta.util.queue` are one module object under two names
in `sys.modules`, so there is one `ObjectRef`, one session, one set of error classes. What follows from that:

- Names tell the truth: `ray.__name__` is "manta", classes say `manta.` in their `__module__`, and pickles name `manta`.
- `ray.__version__` is Manta's version, not a Ray version Manta would be equal to. A program that compares it with Ray's
  should ask for the feature instead.
- The alias wins over an installed Ray. A Ray that is already imported is not replaced under its users: `install` raises.
- A part that Manta does not have is an ordinary `ModuleNotFoundError` or `AttributeError` that names it.
- Installed Ray plugins, `importlib.metadata.version("ray")` and child processes that are not ours are not covered.

Workers need the alias as their driver does: code sent to them says `import ray` too. The driver's `is_installed()` travels
in the job's configuration and the worker calls `install()`. Layers below this one reach it late and by name
(`importlib.import_module("manta.compat")`), and a driver in which `manta.compat` was never imported has no alias.

What lives here: the alias (`alias.py`) and running a program under it (`__main__.py`, `run.py`). What Ray's names mean lives
in the modules they lead to.
"""

from manta.compat.alias import install, is_installed, uninstall

__all__ = ["install", "is_installed", "uninstall"]
