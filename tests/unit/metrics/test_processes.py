"""CPU time by component never goes down, whoever ends."""

from manta.metrics.processes import Components, read


def _process(proc, pid: int, *, cpu_ticks: int, pages: int, started: int) -> None:
    (proc / str(pid)).mkdir(exist_ok=True)
    fields = ["0"] * 50
    fields[0], fields[11], fields[12], fields[19], fields[21] = "S", str(cpu_ticks), "0", str(started), str(pages)
    (proc / str(pid) / "stat").write_text(f"{pid} (a ) name) {' '.join(fields)}\n")


def test_a_process_is_read_whatever_its_name(tmp_path):
    _process(tmp_path, 7, cpu_ticks=250, pages=3, started=9)

    found = read(7, tmp_path)

    assert (2.5, 3 * 4096, 9) == (found.cpu_s, found.resident_bytes, found.started)
    assert read(8, tmp_path) is None


def test_the_seconds_of_a_process_that_ended_stay_counted(tmp_path):
    """Also when its number is given to another one."""
    components = Components(tmp_path)
    _process(tmp_path, 7, cpu_ticks=250, pages=3, started=9)
    assert (1, 2.5) == (lambda found: (found[0], found[1].cpu_s))(components.look({"worker": [7]})["worker"])

    _process(tmp_path, 7, cpu_ticks=100, pages=3, started=10)
    assert (1, 3.5) == (lambda found: (found[0], found[1].cpu_s))(components.look({"worker": [7]})["worker"])

    assert (0, 3.5) == (lambda found: (found[0], found[1].cpu_s))(components.look({"worker": []})["worker"])
