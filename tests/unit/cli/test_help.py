"""What `--help` shows: an example of each command, and exit codes."""

from __future__ import annotations

import pytest

from manta.cli.program import COMMANDS, main

VERBS = ("submit", "status", "logs", "stop", "delete", "list")


@pytest.mark.parametrize("words", [*((name,) for name in COMMANDS), *(("job", verb) for verb in VERBS)], ids=" ".join)
def test_every_command_has_examples_of_itself(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    _, _, examples = capsys.readouterr().out.partition("examples:\n")
    assert examples.startswith(f"  manta {' '.join(words)}"), examples


def test_the_program_names_its_commands_and_its_exit_codes(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(f"    {name}" in said for name in COMMANDS)
    assert (
        "exit codes: 0 done, 1 something did not answer or could not be done, 2 wrong arguments, 3 no cluster." in said
    )
