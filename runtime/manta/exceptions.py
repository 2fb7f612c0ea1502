"""The errors that programs catch.

Names and meaning are those of `ray.exceptions`; beside them stand our own names of the two roots, `MantaError` for
`RayError` and `TaskError` for `RayTaskError`, and errors for what Ray leaves untyped.
"""

from manta.core.errors import *  # noqa: F403 - exactly its __all__
