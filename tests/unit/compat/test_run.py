"""`python -m manta.compat` runs a program as `python` itself would, with `ray` being Manta."""

import json
import subprocess
import sys
import textwrap
import zipfile

import pytest

#: Prints what a program can see of how it was started.
REPORT = """
import json, sys, ray, manta
main = sys.modules["__main__"]
print(json.dumps({
    "name": __name__,
    "file": globals().get("__file__"),
    "argv": sys.argv,
    "path0": sys.path[0],
    "package": __package__,
    "spec": __spec__ and __spec__.name,
    "doc": main.__doc__,
    "is_main": main.__dict__ is globals(),
    "is_manta": ray is manta,
}))
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "script.py").write_text('"""A program."""\n' + REPORT)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "link.py").symlink_to(tmp_path / "script.py")
    (tmp_path / "module.py").write_text(REPORT)
    for name in ("package", "folder"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__main__.py").write_text(REPORT)
    (tmp_path / "package" / "__init__.py").write_text("import sys; INIT_ARGV = sys.argv[0]")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", REPORT)
    return tmp_path


def start(folder, *args, compat=True):
    command = [sys.executable, *(["-m", "manta.compat"] if compat else []), *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    "args",
    [
        ["script.py", "a", "--flag", "-m"],
        ["./script.py"],
        ["linked/link.py"],
        ["folder", "x"],
        ["app.zip"],
        ["-m", "module", "a", "-c"],
        ["-m", "package"],
        ["-c", REPORT, "a", "b"],
    ],
    ids=lambda args: " ".join(args)[:20],
)
def test_a_program_sees_what_it_sees_under_python(folder, args):
    """Compared with the interpreter's own command line, with the alias installed by a module that `python` imports first."""
    prelude = f"import sys; sys.path.insert(0, {str(folder)!r})\nimport manta.compat; manta.compat.install()\n"
    (folder / "sitecustomize.py").write_text(prelude + f"sys.path.remove({str(folder)!r})\n")
    plain = subprocess.run(
        [sys.executable, *args],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
    )
    (folder / "sitecustomize.py").unlink()
    done = start(folder, *args)

    assert done.returncode == plain.returncode == 0, (done.stderr, plain.stderr)
    seen = json.loads(done.stdout)
    assert seen == json.loads(plain.stdout)
    assert (seen["name"], seen["is_main"], seen["is_manta"]) == ("__main__", True, True)


def test_functions_of_the_program_are_pickled_by_value(folder):
    (folder / "program.py").write_text(
        textwrap.dedent(
            """
            import sys
            from manta import serde
            def work(x): return x + base
            base = 40
            sys.stdout.write(serde.dump_function(work).blob.hex())
            """
        )
    )
    blob = start(folder, "program.py").stdout
    code = f"from manta import serde; print(serde.load_function(bytes.fromhex('{blob}'))(2))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)

    assert done.stdout == "42\n"


def test_exit_codes_and_tracebacks_are_the_programs(folder):
    (folder / "exits.py").write_text("import sys; sys.exit(7)")
    (folder / "raises.py").write_text("def f():\n    raise ValueError('mine')\nf()\n")

    assert start(folder, "exits.py").returncode == 7
    done = start(folder, "raises.py")
    assert done.returncode == 1
    assert "raises.py\", line 2, in f\n    raise ValueError('mine')\nValueError: mine" in done.stderr


def test_threads_and_exit_handlers_outlive_the_last_line_of_the_program(folder):
    (folder / "late.py").write_text(
        textwrap.dedent(
            """
            import atexit, threading
            ready = threading.Event()
            text = "from a global"
            threading.Thread(target=lambda: (ready.wait(), print("thread", text))).start()
            atexit.register(lambda: print("exit", text, __import__("__main__").text == text))
            threading.Timer(0, ready.set).start()
            """
        )
    )
    assert start(folder, "late.py").stdout.splitlines() == ["thread from a global", "exit from a global True"]


def test_pytest_runs_under_the_alias(folder):
    (folder / "test_it.py").write_text(
        "import ray, manta\nfrom ray.util import inspect_serializability\ndef test(): assert ray is manta\n"
    )
    done = start(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ([], "no program given"),
        (["-m"], "argument expected for -m"),
        (["-x", "script.py"], "unknown option -x"),
        (["missing.py"], "can't open 'missing.py': no such file or folder"),
        (["-m", "missing_module"], "No module named missing_module"),
        (["-m", "package.missing"], "No module named package.missing"),
    ],
)
def test_wrong_command_lines_are_explained(folder, args, text):
    done = start(folder, *args)
    assert done.returncode != 0
    assert text in done.stderr


def test_help_is_help(folder):
    done = start(folder, "--help")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "usage: python -m manta.compat script.py [args...]")
