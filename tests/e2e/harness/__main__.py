"""`./dev kind` builds what a cluster needs; `./dev kind up` has one with the images on it until Ctrl-C, to try things with."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.charts.programs import helm
from tests.e2e.harness import images, kept, node_image, programs, ways
from tests.e2e.harness.cluster import Cluster, CommandError, cluster
from tests.e2e.harness.images import PYTHON
from tests.e2e.harness.kept import CannotMakeError
from tests.e2e.harness.ways import Way


def build() -> None:
    """What takes long, once."""
    taken = ways.way()
    if missing := ways.what_is_missing(taken):
        raise CannotMakeError(missing)
    if taken is Way.APART:
        programs.have(programs.KIND)
        kept.say(f"the node image is {node_image.have()}")
        kept.say(f"the project's images are {images.have_archive()}")


def up(folder: Path) -> None:
    """One until Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell that starts it in the background has the first ignored
        signal.signal(number, signal.default_int_handler)
    began = time.monotonic()
    with cluster(folder) as running:
        kept.say(f"ready in {time.monotonic() - began:.0f} s. Next, in another terminal:")
        print(
            f"export KUBECONFIG={running.kubeconfig} PATH={_programs(running, folder)}:$PATH\n"
            f"helm install manta-operator charts/manta-operator -n manta-system --create-namespace --set image.python={PYTHON}\n"
            f"helm install demo charts/manta-cluster --set image.python={PYTHON}\n"
            f"kubectl wait --for=condition=Ready mantacluster/demo --timeout=120s\n"
            f"{sys.executable} -c 'import manta; manta.init(\"k8s://default/demo\"); print(manta.cluster_resources())'",
            flush=True,
        )
        signal.pause()


def _programs(running: Cluster, folder: Path) -> Path:
    """A folder with kubectl and helm under their names: who has neither can use those of the tests."""
    programs_folder = folder / "bin"
    programs_folder.mkdir(exist_ok=True)
    for name, path in (("kubectl", shutil.which(running.kubectl_path)), ("helm", helm(kept.say))):
        link = programs_folder / name
        link.unlink(missing_ok=True)
        if path is not None:
            link.symlink_to(Path(path).resolve())
    return programs_folder


def main() -> int:
    """Read the command line."""
    arguments = sys.argv[1:]
    if arguments[:1] not in ([], ["up"]) or len(arguments) > 2:
        print("usage: ./dev kind [up [FOLDER]]", file=sys.stderr)
        return 2
    try:
        build()
        if arguments:
            up(Path(arguments[1]).resolve() if len(arguments) == 2 else Path(tempfile.mkdtemp(prefix="manta-kind-")))
    except KeyboardInterrupt:
        return 0
    except (CannotMakeError, CommandError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
