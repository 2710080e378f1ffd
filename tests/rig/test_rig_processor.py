"""A guest's two processes share a processor; the process that started it keeps all."""

import os
import subprocess
from pathlib import Path

import pytest

from kamexfrm.rig import Guest, until
from kamexfrm.rig.processor import on_one_processor


def processes_of(folder: Path) -> list[int]:
    """Return the living processes that have a guest's folder in their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"uml_dir={folder}/".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_program_started_on_one_processor_stays_there_and_its_starter_does_not() -> None:
    before = os.sched_getaffinity(0)
    with on_one_processor(), subprocess.Popen(["cat"], stdin=subprocess.PIPE) as program:
        processors = os.sched_getaffinity(program.pid)
    assert len(processors) == 1
    assert processors <= before
    assert os.sched_getaffinity(0) == before


def test_a_starter_that_fails_has_its_processors_back() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(FileNotFoundError), on_one_processor():
        subprocess.Popen(["/nowhere/at-all"])
    assert os.sched_getaffinity(0) == before


def test_only_a_processor_that_is_allowed_is_taken() -> None:
    before = os.sched_getaffinity(0)
    for number in before:
        os.sched_setaffinity(0, {number})
        try:
            with on_one_processor():
                assert os.sched_getaffinity(0) == {number}
            assert os.sched_getaffinity(0) == {number}
        finally:
            os.sched_setaffinity(0, before)


def test_where_the_machine_does_not_tell_some_processor_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: Path) -> str:
        raise PermissionError(self)

    monkeypatch.setattr(Path, "read_text", refuse)
    with on_one_processor():
        assert len(os.sched_getaffinity(0)) == 1


def test_where_choosing_is_forbidden_programs_start_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbid(process: int, processors: set[int]) -> None:
        raise PermissionError(process, processors)

    before = os.sched_getaffinity(0)
    monkeypatch.setattr(os, "sched_setaffinity", forbid)
    with on_one_processor(), subprocess.Popen(["cat"], stdin=subprocess.PIPE) as program:
        assert os.sched_getaffinity(program.pid) == before


def test_all_processes_of_a_guest_are_on_the_same_processor() -> None:
    with Guest(["sh", "-c", "echo up; sleep 1000"]) as guest:
        until(lambda: guest.output() == b"up\n", 60.0, "the command in the guest")
        found = processes_of(guest.folder)
        processors = {frozenset(os.sched_getaffinity(one)) for one in found}
    assert len(found) > 1
    assert len(processors) == 1
    assert len(processors.pop()) == 1
