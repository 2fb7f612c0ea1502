"""Stacks as processes send them, taken apart."""

import os

import manta
from manta.cli.frames import Frame, Stack, Whose, parse, shortest, whose

OURS = os.path.join(os.path.dirname(manta.__file__), "client", "direct.py")

TEXT = f"""\
Thread MainThread:
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "{OURS}", line 7, in call
    return function()
           ^^^^^^^^^^
  File "/srv/me/job.py", line 3, in work
    total = sum(
        values)
  File "/opt/lib/python3.12/site-packages/numpy/core.py", line 4, in add
  File "/opt/lib/python3.12/socket.py", line 5, in recv
    data = self.recv()
  -> waits for ObjectRef(01) (task f)
"""


def test_frames_their_code_and_what_is_waited_for():
    stack = parse(TEXT)

    assert "Thread MainThread" == stack.title
    assert "ObjectRef(01) (task f)" == stack.waits_for
    assert [Whose.STANDARD, Whose.MANTA, Whose.USER, Whose.LIBRARY, Whose.STANDARD] == [
        frame.whose for frame in stack.frames
    ]
    assert Frame("/srv/me/job.py", 3, "work", ("total = sum(", "values)"), Whose.USER) == stack.frames[2]


def test_relevant_is_from_the_users_first_frame_on_without_ours():
    assert ["work", "add", "recv"] == [frame.function for frame in parse(TEXT).relevant()]


def test_a_thread_without_the_users_code_speaks_only_of_what_it_waits_for():
    title, ours = "Thread x:\n", f'  File "{OURS}", line 7, in call\n'
    assert not parse(title + ours).speaks
    assert parse(title + ours + "  -> waits for room\n").speaks


def test_texts_that_are_no_stacks_are_empty_ones():
    for text in ("", "\n", "only a title", "t:\nneither frame nor code"):
        stack = parse(text)
        assert (stack.frames, stack.waits_for) == ([], "")
    assert Stack("") == parse("")


def test_whose_file_it_is():
    assert Whose.STANDARD == whose("/usr/lib/python3.11/threading.py")
    assert Whose.LIBRARY == whose("/usr/lib/python3/dist-packages/yaml/__init__.py")
    assert Whose.LIBRARY == whose("/v/lib/python3.11/site-packages/pandas/frame.py")
    assert Whose.USER == whose("<stdin>")
    assert Whose.USER == whose("/srv/me/manta/client/direct.py")
    assert Whose.MANTA == whose(OURS)


def test_paths_are_relative_where_that_is_shorter():
    assert {"/a/b/c.py": "c.py", "/x/y.py": "/x/y.py", "<stdin>": "<stdin>"} == shortest(
        ["/a/b/c.py", "/x/y.py", "<stdin>"], "/a/b"
    )
