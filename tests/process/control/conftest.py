import shutil

import pytest


@pytest.fixture
def home(sandbox):
    """A session directory inside the sandbox, gone afterwards: a store is meant to outlive its process."""
    path = sandbox.path / "session"
    path.mkdir(mode=0o700)
    yield path
    shutil.rmtree(path)
