"""`python -m manta.cli`: the same as `manta`."""

import sys

from manta.cli import main

sys.exit(main())
