"""A machine that lets us open few files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.process.semantics.support import run_driver

if TYPE_CHECKING:
    from pathlib import Path

CLUSTER = None


def test_more_actors_than_files_can_be_opened_for_are_refused_with_that_reason(tmp_path: Path):
    """Those that live go on, and so does everything else."""
    ended = run_driver(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        import manta
        manta.init(num_cpus=1, log_to_driver=False)

        @manta.remote(num_cpus=0)
        class A:
            def call(self):
                return 1

        living, refused = [], []
        for actor in [A.remote() for _ in range(60)]:
            try:
                manta.get(actor.call.remote())
                living.append(actor)
            except manta.exceptions.ActorDiedError as error:
                refused.append(str(error))
        print(len(living) >= 10, len(refused) > 0, all("limit of open files" in text for text in refused))
        del actor, living[5:]
        print(sum(manta.get([actor.call.remote() for actor in living])))
        print(manta.get([manta.remote(abs).remote(-n) for n in range(3)], timeout=30))
        """,
        tmp_path,
    )
    assert ended.lines == ["True True True", "5", "[0, 1, 2]"], (ended.lines, ended.stderr)
