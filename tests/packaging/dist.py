"""``make dist``: wheel and sdist, checked, installed in a bare environment, and used there.

With ``--lock`` instead: write packaging/requirements.lock, the newest versions with their hashes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.packaging.results import ROOT, record

TOOLS = ["build", "twine", "pip-audit", "uv"]
LOCK = ROOT / "packaging" / "requirements.lock"
COMMANDS = ("setkey", "kame-sysctl", "kamexfrm", "kamexfrmd")

#: Some of what is beside the code.
INSTALLED = (
    "lib/systemd/system/kamexfrm.service",
    "share/man/man8/setkey.8",
    "share/doc/kamexfrm/examples/add_and_read.py",
    "etc/kamexfrm/sysctl.conf",
)

#: A script for setkey that needs no SA of the kernel.
SCRIPT = "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;"


def main() -> None:
    """Do what the command line says."""
    tools = _environment(ROOT / "build" / "dist-tools", *TOOLS)
    if sys.argv[1:] == ["--lock"]:
        _lock(tools)
        return
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    # The wheel is built from the sdist, so that the sdist is known to be complete.
    _run([tools / "python", "-m", "build", "--outdir", dist, ROOT])
    files = sorted(dist.iterdir())
    _run([tools / "twine", "check", "--strict", *files])
    for file in files:
        with tempfile.TemporaryDirectory() as folder:
            _try(_environment(Path(folder), "-r", LOCK), file)
    audited = _audit(tools)
    record("dist", "wheel and sdist", f"built, checked, installed and used; {audited}")


def _environment(folder: Path, *packages: str | Path) -> Path:
    """Make a virtual environment with packages, return its bin."""
    if not (folder / "bin" / "pip").exists():
        _run([sys.executable, "-m", "venv", "--clear", folder])
    _run([folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    return folder / "bin"


def _try(bin_folder: Path, file: Path) -> None:
    """Install a wheel or sdist and use each command."""
    environment = _environment(bin_folder.parent, file)
    prefix = environment.parent
    for command in COMMANDS:
        _run([environment / command, "-V" if command == "setkey" else "--version"], status=None)
        text = (environment / command).read_text()
        if "import re\n" in text:
            sys.exit(f"{file.name}: the launcher {command} imports re")
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    shown = _run(
        ["unshare", *as_root, "--net", "sh", "-e", "-c", "setkey --strict -f -; setkey -DP"],
        text=SCRIPT,
        path=environment,
    )
    if "esp/transport//require" not in shown:
        sys.exit(f"{file.name}: setkey -DP does not show what setkey -f added: {shown}")
    for data in INSTALLED:
        if not (prefix / data).exists():
            sys.exit(f"{file.name}: has no {data}")
    print(f"{file.name}: installed and used", flush=True)


def _audit(tools: Path) -> str:
    """Look up what is known against the locked versions; return what to say of it."""
    command = [str(tools / "pip-audit"), "--disable-pip", "--no-deps", "-r", str(LOCK), "--strict"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return "pip-audit knows nothing against the locked versions"
    if "could not be audited" in done.stderr or "ConnectionError" in done.stderr:
        print(done.stderr, file=sys.stderr)
        return "pip-audit could not reach its service"
    sys.exit(done.stdout + done.stderr)


def _lock(tools: Path) -> None:
    _run(
        [
            *(tools / "uv", "pip", "compile", "--quiet", "--upgrade", "--generate-hashes"),
            *("--universal", "--python-version", "3.11", "--no-header", "--no-emit-index-url"),
            *("--no-emit-find-links", "--output-file", LOCK, ROOT / "pyproject.toml"),
        ]
    )


def _run(
    words: Sequence[str | Path],
    *,
    text: str = "",
    path: Path | None = None,
    status: int | None = 0,
) -> str:
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    command = [str(word) for word in words]
    done = subprocess.run(
        command, input=text, stdout=subprocess.PIPE, text=True, env=environment, check=False
    )
    if status is not None and done.returncode != status:
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    main()
