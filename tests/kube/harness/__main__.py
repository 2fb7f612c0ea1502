"""`python -m tests.kube.harness up [FOLDER]`, or `./dev kube up`: a control plane until Ctrl-C, to try things by hand."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.kube.harness.build import CannotBuildError
from tests.kube.harness.control_plane import ControlPlaneError, control_plane, what_is_missing


def main() -> int:
    """Start one, say how it is reached, and end it with this process."""
    if sys.argv[1:2] != ["up"] or len(sys.argv) > 3:
        print("usage: ./dev kube up [FOLDER]", file=sys.stderr)
        return 2
    if missing := what_is_missing():
        print(f"cannot start a control plane: {missing}", file=sys.stderr)
        return 1
    folder = Path(sys.argv[2]).resolve() if len(sys.argv) == 3 else Path(tempfile.mkdtemp(prefix="manta-kube-"))
    began = time.monotonic()
    try:
        with control_plane(folder) as kube:
            print(f"--- ready in {time.monotonic() - began:.1f} s; logs are in {folder / 'log'}", file=sys.stderr)
            print(f"export KUBECONFIG={kube.kubeconfig}", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 0
    except (ControlPlaneError, CannotBuildError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
