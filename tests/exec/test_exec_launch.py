"""Starting: the program is what it would be without ``kamexfrm exec``, and its end is the end."""

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kamexfrm.rig import Host, until
from tests.exec.exec_programs import EXEC, program, supervised, supervisors

#: What a program is given: signals and rights, open files, environment, place, limits.
SHOW = """
grep -E '^(SigBlk|SigIgn|Cap|NoNewPrivs)' /proc/self/status
ls /proc/self/fd; cat /proc/self/environ | tr '\\0' '\\n' | sort; pwd; ulimit -a; umask
"""


def test_the_program_keeps_the_commands_process_id(namespace: Host) -> None:
    process = namespace.start(supervised("print(os.getpid())"))
    stdout, _ = process.communicate(timeout=30)
    assert int(stdout) == process.pid


def test_the_program_finds_what_it_would_find_without(namespace: Host, tmp_path: Path) -> None:
    # Without a locale Python sets LC_CTYPE, for itself and for whom it starts.
    environment = {"PATH": os.environ["PATH"], "LANG": "C"}
    show = ["env", "--ignore-signal=USR1", "sh", "-c", SHOW]
    shown = []
    for command in (["env", "--", *show], [*EXEC, "--", *show]):
        done = namespace.run(command, environment=environment, directory=tmp_path)
        assert done.status == 0, done.stderr
        shown.append(done.stdout.splitlines())
    assert "LC_CTYPE" not in "".join(shown[0])
    assert shown[0] == shown[1]


@pytest.mark.parametrize("status", [0, 3])
def test_the_exit_status_is_the_programs(namespace: Host, status: int) -> None:
    assert namespace.run(supervised(f"sys.exit({status})")).status == status


def test_a_deadly_signal_is_the_programs(namespace: Host) -> None:
    done = namespace.run(supervised("os.kill(os.getpid(), signal.SIGUSR1)"))
    assert done.status == -signal.SIGUSR1


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("/nowhere/at/all", 127, os.strerror(errno.ENOENT)),
        ("no-such-program", 127, os.strerror(errno.ENOENT)),
        ("/etc/passwd", 126, os.strerror(errno.EACCES)),
    ],
)
def test_a_program_that_cannot_be_run_has_envs_status(
    namespace: Host, name: str, status: int, reason: str
) -> None:
    done = namespace.run([*EXEC, "--", name])
    assert (done.status, done.stdout) == (status, "")
    assert done.stderr == f"kamexfrm exec: {name}: {reason}\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "no program"),
        (["--"], "no program"),
        (["--none", "true"], "unrecognized option '--none'"),
        (["--barrier", "wall", "true"], "no such barrier: 'wall'"),
        (["--barrier"], "option '--barrier' needs a value"),
    ],
)
def test_usage_is_shown(words: list[str], complaint: str) -> None:
    done = subprocess.run([*EXEC, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert done.stderr.startswith(f"kamexfrm exec: {complaint}\nusage: kamexfrm exec ")


def test_help_is_data(namespace: Host) -> None:
    done = namespace.run([*EXEC, "--help"])
    assert (done.status, done.stderr) == (0, "")
    assert "--barrier" in done.stdout


def test_options_end_where_the_program_begins(namespace: Host) -> None:
    done = namespace.run([*EXEC, "echo", "--barrier", "-v"])
    assert (done.status, done.stdout, done.stderr) == (0, "--barrier -v\n", "")


def test_the_command_kamexfrm_has_it(namespace: Host) -> None:
    text = "print(base(ask(pf_key(), FLUSH))[:2])"
    kamexfrm = [sys.executable, "-m", "kamexfrm.cli", "exec", "--", *program(text)]
    assert namespace.run(kamexfrm).stdout == "(9, 0)\n"


def test_the_program_has_no_child_that_it_did_not_start(namespace: Host) -> None:
    text = """
        pf_key().close()
        print(refusal_of(os.wait) == errno.ECHILD)
        print(open(f"/proc/self/task/{os.getpid()}/children").read() == "")
    """
    assert namespace.run(supervised(text)).stdout == "True\nTrue\n"


class TestTheEnd:
    @pytest.mark.both_kernels
    @pytest.mark.parametrize("options", [[], ["-v"]])
    def test_no_process_waits_for_the_supervisor(self, namespace: Host, options: list[str]) -> None:
        # Reads to the end of the output before it asks for the status, as shells do not.
        assert namespace.run(supervised("pf_key(); print(1)", *options)).stdout == "1\n"

    def test_the_supervisor_ends_with_the_program(
        self, namespace: Host, no_supervisor_stays: Callable[[], None]
    ) -> None:
        namespace.run(supervised("pf_key()"), check=True)
        no_supervisor_stays()

    def test_the_supervisor_ends_with_the_last_daemon(
        self, namespace: Host, no_supervisor_stays: Callable[[], None]
    ) -> None:
        text = """
            ours, theirs = os.pipe()
            if os.fork():
                os.close(theirs)
                print(os.read(ours, 1000).decode())
                sys.exit()
            os.setsid()
            if os.fork():
                os._exit(0)
            key = pf_key()
            answer = base(ask(key, FLUSH))[:2]
            os.write(theirs, f"{os.getpid()} {answer}".encode())
            os.close(theirs)
            for number in range(3):
                os.close(number)
            signal.pause()
        """
        before = supervisors()
        # That it returns at all shows that no pipe is held open.
        done = namespace.run(supervised(text), check=True)
        daemon, answer = done.stdout.split(maxsplit=1)
        assert answer.strip() == "(9, 0)"
        assert supervisors() - before
        os.kill(int(daemon), signal.SIGTERM)
        no_supervisor_stays()

    def test_the_supervisor_outlives_signals_to_all_it_could_share_a_group_with(
        self, namespace: Host, no_supervisor_stays: Callable[[], None]
    ) -> None:
        # racoon flushes the SAs when it is to end; systemd signals all processes at once.
        text = """
            key = pf_key()
            def end(*_):
                print(base(ask(key, FLUSH))[:2])
                sys.exit()
            signal.signal(signal.SIGTERM, end)
            ask(key, FLUSH)
            print("ready", flush=True)
            signal.pause()
        """
        before = supervisors()
        process = namespace.start(supervised(text))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (supervisor,) = supervisors() - before
        assert os.getsid(supervisor) not in (os.getsid(0), process.pid)
        for name in ("INT", "HUP", "QUIT", "PIPE", "TERM", "ALRM", "USR1", "USR2"):
            number = signal.Signals[f"SIG{name}"]
            os.kill(supervisor, number)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.communicate(timeout=30)[0] == "(9, 0)\n"
        no_supervisor_stays()

    def test_the_supervisor_keeps_no_directory_busy(self, namespace: Host, tmp_path: Path) -> None:
        before = supervisors()
        with namespace.start(supervised("signal.pause()"), directory=tmp_path) as process:
            (supervisor,) = until(lambda: supervisors() - before, 10, "a supervisor")
            until(lambda: os.readlink(f"/proc/{supervisor}/cwd") == "/", 10, "it is out of the way")
            standard = {os.readlink(f"/proc/{supervisor}/fd/{number}") for number in range(3)}
            assert standard == {"/dev/null"}
            process.kill()


class TestTheLog:
    def test_it_logs_who_asked_for_what(self, namespace: Host, tmp_path: Path) -> None:
        text = "pf_key(); refusal_of(raw_socket, AF_KEY, socket.SOCK_STREAM, 2)"
        log = tmp_path / "log"
        done = namespace.run(supervised(text, "--log", str(log)))
        assert done.stderr == ""
        (opened, refused) = log.read_text().splitlines()
        assert re.search(r" kamexfrm exec: python\S* \(\d+\): socket: a PF_KEY socket$", opened)
        assert os.strerror(errno.ESOCKTNOSUPPORT) in refused
        assert log.stat().st_mode & 0o777 == 0o600

    def test_the_name_of_a_program_is_one_line_of_it(self, namespace: Host, tmp_path: Path) -> None:
        log = tmp_path / "log"
        text = "open('/proc/self/comm', 'wb').write(b'a\\nb\\x1b[1m\\xff'); pf_key()"
        done = namespace.run(supervised(text, "--log", str(log)))
        assert done.stderr == ""
        (line,) = log.read_text().splitlines()
        assert "kamexfrm exec: a\\nb\\x1b[1m\\xff (" in line

    def test_a_log_reader_that_does_not_read_blocks_no_program(self, namespace: Host) -> None:
        # A pipe has room for a thousand lines or so.
        text = """
            for _ in range(3000):
                pf_key().close()
            print("done", flush=True)
        """
        process = namespace.start(supervised(text, "--verbose"))
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        process.communicate(timeout=30)

    def test_a_log_that_cannot_be_written_is_reported(self, namespace: Host) -> None:
        done = namespace.run([*EXEC, "--log", "/nowhere/log", "--", "echo", "started"])
        assert (done.status, done.stdout) == (125, "")
        assert done.stderr == f"kamexfrm exec: {os.strerror(errno.ENOENT)} (/nowhere/log)\n"


class TestRefusals:
    def test_a_second_listener_is_refused_with_the_reason(self, namespace: Host) -> None:
        done = namespace.run([*EXEC, "--", *EXEC, "--", "true"])
        assert done.status == 125
        assert "Device or resource busy" in done.stderr
        assert "kamexfrm exec within another" in done.stderr

    def test_a_filter_that_forbids_af_key_is_reported(self, namespace: Host) -> None:
        # As systemd's RestrictAddressFamilies= does: socket(AF_KEY) gives EAFNOSUPPORT.
        done = namespace.run(_under(f"(0, 15, {0x00050000 | errno.EAFNOSUPPORT})"))
        assert done.status == 125
        assert "RestrictAddressFamilies=" in done.stderr

    def test_a_filter_that_forbids_seccomp_is_reported(self, namespace: Host) -> None:
        done = namespace.run(_under(f"(None, {317}, {0x00050000 | errno.EPERM})"))
        assert done.status == 125
        assert "forbids seccomp(2)" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_foreign_proc_is_reported(self, namespace: Host) -> None:
        done = namespace.run(["unshare", "--pid", "--fork", *EXEC, "--", "true"])
        assert done.status == 125
        assert "unshare --mount-proc" in done.stderr


def _under(rule: str) -> list[str]:
    """Return a command that runs ``kamexfrm exec`` under another filter of one rule.

    The rule: the argument to test or None for the number alone, its value or the number, and
    what is answered.
    """
    text = f"""
        from kamexfrm.exec import system
        from kamexfrm.exec.filter import Condition, Rule, Test, argument, assemble
        index, value, action = {rule}
        machine = system.machine()
        if index is None:
            found = Rule(value if value != 317 else machine.seccomp, action)
        else:
            found = Rule(machine.socket, action, (argument(index, Test.EQUAL, value),))
        code = bytearray(assemble(machine, [found], refuse_foreign=False))
        header = bytearray(struct.pack("@HP", len(code) // 8, system.address(code)))
        system.set_no_new_privileges()
        system.call(machine.seccomp, 1, 0, system.address(header))
        os.execv(sys.executable, {[*EXEC, "--", "true"]!r})
    """
    return program(text)


def test_root_gives_up_no_privileges(namespace: Host) -> None:
    status = namespace.run([*EXEC, "--", "cat", "/proc/self/status"]).stdout
    assert "NoNewPrivs:\t0\n" in status
