"""Run a program in percent format (`# %% name` starts a cell) as a notebook would, in one driver process.

Usage: python notebook.py PROGRAM

Each cell runs at the top level of `__main__`, a cell that raises does not stop the next one, and the value of a
closing expression is displayed. What happened is written to stdout as JSON records on lines of their own that begin
with RECORD; everything else on stdout is the program's.
"""

import ast
import json
import pathlib
import re
import sys
import time
import traceback
import types

#: Starts a record's line. ASCII "record separator", which no program here prints.
RECORD = "\x1e"
CELL = re.compile(r"^# %%[ ]*(?P<name>.*)$")


def cells(source):
    """Yield (name, first line number, text) for each cell; text before the first marker is the cell ''."""
    name, first, lines = "", 1, []
    for number, line in enumerate(source.splitlines(), 1):
        marker = CELL.match(line)
        if marker:
            yield name, first, "\n".join(lines)
            name, first, lines = marker["name"], number + 1, []
        else:
            lines.append(line)
    yield name, first, "\n".join(lines)


def run_cell(text, first, path, namespace):
    """Execute one cell; return the value of its closing expression, or None."""
    tree = ast.parse("\n" * (first - 1) + text, filename=path)  # line numbers stay those of the file
    closing = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        closing = ast.Expression(tree.body.pop().value)
    exec(compile(tree, path, "exec"), namespace)
    return eval(compile(closing, path, "eval"), namespace) if closing is not None else None


def html_of(value):
    """What a notebook would draw for a displayed value, or None."""
    bundle = getattr(value, "_repr_mimebundle_", None)
    if bundle is not None:
        return bundle(include=None, exclude=None).get("text/html")
    draw = getattr(value, "_repr_html_", None)
    return draw() if draw is not None else None


def record(**fields):
    sys.stdout.flush()
    sys.stdout.write("\n" + RECORD + json.dumps(fields) + "\n")
    sys.stdout.flush()


def main(path):
    path = str(pathlib.Path(path).resolve())
    source = pathlib.Path(path).read_text()
    program = types.ModuleType("__main__")  # fresh: a program must not find our own imports by accident
    program.__file__ = path
    sys.modules["__main__"] = program
    sys.argv = [path]
    for name, first, text in cells(source):
        if not text.strip():
            continue
        record(cell=name)
        outcome = {"shows": None, "html": None, "error": None}
        began = time.monotonic()
        try:
            value = run_cell(text, first, path, program.__dict__)
            if value is not None:
                outcome["shows"], outcome["html"] = repr(value), html_of(value)
        except Exception as error:
            traceback.print_exc()
            outcome["error"] = {
                "type": type(error).__name__,
                "bases": [base.__name__ for base in type(error).__mro__],
                "text": str(error),
            }
        record(ended=name, seconds=time.monotonic() - began, **outcome)


if __name__ == "__main__":
    main(sys.argv[1])
