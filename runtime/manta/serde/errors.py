"""What `deserialize` raises."""

from manta.core.errors import RaySystemError


class DeserializationError(RaySystemError):
    """A serialized value is damaged, or its objects can't be made in this process. The reason is the `__cause__`."""
