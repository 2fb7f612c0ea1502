"""What a submitted job is, from what is written of it; and archives that are not fit to be unpacked."""

from __future__ import annotations

import io
import shutil
import stat
import zipfile

import pytest

from manta.client.archives import archive
from manta.jobs import packages, states
from manta.jobs.errors import JobRequestError, PackageError

JOB = states.check_request({"entrypoint": "true"}, "x") | {"submitted_unix_ms": 1}


def test_a_job_goes_from_pending_to_running_to_its_end():
    assert states.Facts(JOB).status == "PENDING"
    assert states.Facts(JOB, run={"group": 1}).status == "RUNNING"
    assert states.Facts(JOB, run={"group": 1}, stop={}).status == "RUNNING"
    assert states.Facts(JOB, end=states.ended(0, stop_wanted=False)).status == "SUCCEEDED"


def test_a_job_that_needs_resources_is_pending_until_it_has_them_and_says_for_what():
    needs = states.check_request(
        {"entrypoint": "true", "entrypoint_num_cpus": 2, "entrypoint_resources": {"licence": 0.5, "none": 0}}, "x"
    )
    assert needs["resources"] == {"num_cpus": 2, "resources": {"licence": 0.5, "none": 0}}
    waits = states.Facts(needs, run={"group": 1, "unix_ms": 1})
    assert (waits.status, waits.message) == ("PENDING", "Job waits for a node with 2 CPUs, 0.5 of licence free.")
    assert states.event(waits)["began_unix_ms"] is None
    runs = states.Facts(needs, run={"group": 1}, placed={"unix_ms": 2})
    assert (runs.status, states.event(runs)["began_unix_ms"]) == ("RUNNING", 2)
    assert "resources" not in states.check_request({"entrypoint": "true", "entrypoint_num_cpus": 0}, "x")
    somewhere = {"entrypoint": "true", "entrypoint_label_selector": {"zone": "in(a,b)", "x": "!y"}}
    placed = states.check_request(somewhere, "x")
    assert placed["resources"] == {"num_cpus": 0, "label_selector": {"zone": "in(a,b)", "x": "!y"}}
    waits = states.Facts(placed, run={"group": 1, "unix_ms": 1})
    assert waits.message == "Job waits for a node with the labels zone=in(a,b), x=!y."
    both = states.check_request({**somewhere, "entrypoint_num_cpus": 2}, "x")
    assert (
        states.Facts(both, run={}).message == "Job waits for a node with 2 CPUs free and the labels zone=in(a,b), x=!y."
    )
    assert not states.same(JOB, needs)


@pytest.mark.parametrize(("code", "stop_wanted", "status"), [
    (0, False, "SUCCEEDED"), (1, False, "FAILED"), (-9, False, "FAILED"), (0, True, "STOPPED"), (-15, True, "STOPPED"),
])  # fmt: skip
def test_the_drivers_exit_decides(code, stop_wanted, status):
    end = states.ended(code, stop_wanted=stop_wanted)
    shown = states.details(states.Facts(JOB, end=end))
    assert shown["status"] == status
    assert shown["driver_exit_code"] == code


def test_a_job_without_an_id_gets_the_one_made_for_it():
    assert JOB["submission_id"] == "x"
    assert states.check_request({"entrypoint": "true", "submission_id": "mine"}, "x")["submission_id"] == "mine"


@pytest.mark.parametrize(
    "hostile", ["", ".", "..", ".hidden", "-f", "a/b", "a\0", "a\n", "ä", "<b>", "x" * 129, 5, None]
)
def test_an_id_is_a_files_name_and_nothing_else(hostile):
    with pytest.raises(JobRequestError, match="submission_id has 1 to 128"):
        states.check_id(hostile)


def test_of_those_that_are_over_the_first_to_end_are_forgotten():
    jobs = [states.Facts({"submission_id": str(at)}, end={"unix_ms": -at}) for at in range(5)]
    jobs.append(states.Facts({"submission_id": "runs"}, run={}))
    later = states.FRESH_MS + 1
    assert states.outdated(jobs, 2, now_ms=later) == ["4", "3", "2"]
    assert states.outdated(jobs, 5, now_ms=later) == []


def test_what_ended_within_the_hour_is_known_for_those_who_were_cut_off():
    """As long as it is not ten times as many as stay anyway."""
    jobs = [states.Facts({"submission_id": str(at)}, end={"unix_ms": at}) for at in range(20)]
    now_ms = states.FRESH_MS + 14
    assert states.outdated(jobs, 2, now_ms=now_ms) == [str(at) for at in range(15)]
    assert states.outdated(jobs, 1, now_ms=0) == [str(at) for at in range(10)]
    assert states.outdated(jobs, 2, now_ms=0) == []


def made(*entries):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, mode in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, b"/etc/passwd")
    data.seek(0)
    return data


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "a\\b", "a//b", "./a"])
def test_an_entry_that_would_leave_the_folder_is_named(name):
    with zipfile.ZipFile(made((name, 0o644))) as file, pytest.raises(PackageError, match="would leave the folder"):
        packages.check(file)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_named(kind):
    with zipfile.ZipFile(made(("evil", kind | 0o777))) as file, pytest.raises(PackageError, match="'evil' is a link"):
        packages.check(file)


def test_what_is_larger_unpacked_than_allowed_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(packages, "MOST_UNPACKED", 20)
    with zipfile.ZipFile(made(("a", 0), ("bomb", 0))) as file, pytest.raises(PackageError, match=r"'bomb'.*unpacked"):
        packages.check(file)


def test_a_refused_archive_leaves_nothing(tmp_path):
    (tmp_path / "no.zip").write_bytes(b"nothing")
    with pytest.raises(PackageError, match=r"no\.zip is no zip archive"):
        packages.unpack(tmp_path / "no.zip", tmp_path / "out")
    assert [one.name for one in tmp_path.iterdir()] == ["no.zip"]


def test_the_same_folder_gives_the_same_bytes_and_comes_out_as_it_was(tmp_path):
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    (source / "run.sh").write_text("true")
    (source / "run.sh").chmod(0o755)
    (source / "sub" / "skip").write_text("x")
    data = archive(str(source), "", ("sub",))
    assert data == archive(str(source), "", ("sub",))
    (tmp_path / "a.zip").write_bytes(data)
    packages.unpack(tmp_path / "a.zip", tmp_path / "out")
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["run.sh"]
    assert (tmp_path / "out" / "run.sh").stat().st_mode & 0o777 == 0o755


def unpacked(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    packages.unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_directory_that_would_fill_memory_is_not_read(tmp_path, monkeypatch):
    """Millions of entries cost nothing in an archive: their number is looked at before they are."""
    monkeypatch.setattr(packages, "MOST_DIRECTORY", 1000)
    with pytest.raises(PackageError, match=r"directory has \d+ bytes, at most 1000"):
        unpacked(tmp_path, made(*((f"file{number}", 0) for number in range(50))).getvalue())


def test_too_many_entries_are_refused(monkeypatch):
    monkeypatch.setattr(packages, "MOST_ENTRIES", 3)
    entries = made(*((str(number), 0) for number in range(4)))
    with zipfile.ZipFile(entries) as file, pytest.raises(PackageError, match="4 entries, at most 3"):
        packages.check(file)


def test_an_entry_that_is_larger_than_it_says_is_not_written_whole(tmp_path):
    """The sizes in the directory are what was summed up; what there is beyond them is damage."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb", bytes(1 << 20))
    lie = data.getvalue().replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    with pytest.raises(PackageError, match="no zip archive that can be unpacked"):
        unpacked(tmp_path, lie)
    assert [one.name for one in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_refused(tmp_path, method):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as file:
        file.writestr("a", bytes(1000))
    with pytest.raises(PackageError, match="deflate is taken"):
        unpacked(tmp_path, data.getvalue())


def test_any_damage_is_a_refusal_that_leaves_nothing(tmp_path):
    """Each byte in turn, and each length."""
    good = made(("folder/a", 0o644), ("b", 0o600)).getvalue()
    hostile = [good[:length] for length in range(0, len(good), 3)]
    hostile += [good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :] for at in range(len(good))]
    for number, data in enumerate(hostile):
        try:
            unpacked(tmp_path, data)
        except PackageError:
            assert [one.name for one in tmp_path.iterdir()] == ["a.zip"], number
        else:
            shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("names", [("a", "a/b"), ("x" * 300,), ("/".join(["d" * 200] * 30),)])
def test_names_that_the_disk_does_not_take_are_a_refusal(tmp_path, names):
    with pytest.raises(PackageError, match="can be unpacked here"):
        unpacked(tmp_path, made(*((name, 0) for name in names)).getvalue())


def test_uploads_that_were_cut_off_by_a_kill_are_swept_away(tmp_path):
    for name in (".0123456789abcdef", "a.zip", ".keep"):
        (tmp_path / name).write_bytes(b"x")
    packages.sweep(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == [".keep", "a.zip"]
