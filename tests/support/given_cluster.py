"""`init` of a program joins the cluster of MANTA_ADDRESS, whatever it asks for: `python -m tests.support.given_cluster FILE`.

As Ray does, `init(num_cpus=...)` refuses to join a cluster that exists; here what describes a new one is not heard.
"""

from __future__ import annotations


def install() -> None:
    """From now on."""
    from manta.core.options.init import InitOptions

    InitOptions.refuse_cluster_shape = lambda self: None  # type: ignore[method-assign]


def main() -> None:
    """Run a script."""
    install()
    from manta.compat.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
