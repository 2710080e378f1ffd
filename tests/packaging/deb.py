"""``make deb`` and ``make deb-test``: the package is built, checked, installed, upgraded, purged.

``deb`` builds it on this machine into dist/. ``deb-test SUITE...`` builds it in a fresh root of
each suite, holds it against lintian, and tries in another root what an administrator does.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.packaging.results import ROOT, record
from tests.packaging.roots import NAMES, SUITES, Root, copy_sources

VERSION = re.findall(r'__version__ = "(.*)"', (ROOT / "kamexfrm" / "__init__.py").read_text())[0]
PACKAGE = f"kamexfrm_{VERSION}_all.deb"

#: Debian's own interpreter and tools, whatever else is installed on this machine.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

BUILD = "dpkg-buildpackage -us -uc -b"

#: All files but those that apt and dpkg keep of their own.
SNAPSHOT = (
    r"find / -xdev \( -path /root -o -path /tmp -o -path /var/lib/dpkg -o -path /var/lib/apt"
    " -o -path /var/cache -o -path /var/log -o -path /proc -o -path /sys -o -path /dev"
    r" -o -path /run -o -path /etc/ld.so.cache \) -prune -o -print | sort"
)

#: Debian 12's lintian remarks that there is no boot script for systems without systemd, which run
#: "kamexfrm boot load" themselves; Debian 13's does not know that tag, nor takes an override of it.
NO_BOOT_SCRIPT = "package-supports-alternative-init-but-no-init.d-script"

#: An older package that has a setkey of its own, as Debian's ipsec-tools had.
OLD_PACKAGE = """
mkdir -p /tmp/old/DEBIAN /tmp/old/usr/sbin
printf 'Package: ipsec-tools\nVersion: 1:0.8.2\nArchitecture: all\nMaintainer: a <a@a.example>
Description: setkey\n' >/tmp/old/DEBIAN/control
echo '#!/bin/true' >/tmp/old/usr/sbin/setkey
chmod 755 /tmp/old/usr/sbin/setkey
dpkg-deb --build /tmp/old /root/old.deb
dpkg -i /root/old.deb
"""

POLICY = "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;"

#: The files of an administrator, and what they come to in a network namespace of its own.
USE = f"""
echo '{POLICY}' >/etc/kamexfrm/hosts.conf
cp /usr/share/doc/kamexfrm/examples/lockdown.conf /etc/kamexfrm/
unshare --net bash -euo pipefail -c '
    echo "{POLICY}" | setkey --strict -f -
    setkey -DP | grep -q esp/transport//require
    setkey -FP
    kamexfrm boot load
    setkey -DP | grep -q esp/transport//require
    kame-sysctl -n net.inet.ipsec.def_policy | grep -qx 0
    kamexfrm boot load
    kamexfrm boot unload
    kame-sysctl -n net.inet.ipsec.def_policy | grep -qx 0
    kamexfrm boot unload --open
    kame-sysctl -n net.inet.ipsec.def_policy | grep -qx 1
'
for page in 8/setkey 8/kame-sysctl 8/kamexfrm 8/kamexfrmd 8/kamexfrm-boot 4/ipsec; do
    test -e /usr/share/man/man${{page%%/*}}/${{page#*/}}.${{page%%/*}}.gz
done
_KAMEXFRM_COMPLETE=bash_complete COMP_WORDS='kamexfrm bo' COMP_CWORD=1 kamexfrm | grep -q boot
(cd / && python3 -c 'import kamexfrm; kamexfrm.model')
"""

#: The same package under a higher version: a changed conffile stays as the administrator has it.
UPGRADE = f"""
echo '#changed' >>/etc/kamexfrm/sysctl.conf
dpkg-deb -R /root/{PACKAGE} /tmp/next
sed -i 's/^Version: .*/Version: {VERSION}+next/' /tmp/next/DEBIAN/control
dpkg-deb --build /tmp/next /root/next.deb
apt-get -q -y install /root/next.deb
grep -q '#changed' /etc/kamexfrm/sysctl.conf
setkey -V | grep -q kamexfrm || [ $? = 1 ]
test "$(systemctl is-enabled kamexfrm 2>&1 || :)" != disabled
"""


def main() -> None:
    """Do what the command line says."""
    if sys.argv[1] == "deb":
        _build_here()
        return
    for suite in sys.argv[2:] or SUITES:
        _test(suite)


def _build_here() -> None:
    """Build the package on this machine, which must have the build dependencies."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / f"kamexfrm-{VERSION}"
        copy_sources(source)
        environment = {**os.environ, "PATH": PATH}
        subprocess.run(BUILD.split(), cwd=source, env=environment, check=True)
        (ROOT / "dist").mkdir(exist_ok=True)
        shutil.copy2(source.parent / PACKAGE, ROOT / "dist")
    print(f"dist/{PACKAGE}")


def _test(suite: str) -> None:
    with Root(suite) as root:
        root.take_sources()
        root.install("build-essential lintian devscripts")
        root.run("cd kamexfrm; apt-get -q -y build-dep --no-install-recommends .")
        root.run(f"cd kamexfrm; {BUILD}")
        lintian = "lintian --allow-root --pedantic --display-info kamexfrm_*.changes || :"
        said = [line for line in root.run(lintian).splitlines() if NO_BOOT_SCRIPT not in line]
        if any(said):
            sys.exit("\n".join((f"{suite}: lintian says", *said)))
        (ROOT / "dist").mkdir(exist_ok=True)
        package = ROOT / "dist" / f"{suite}-{PACKAGE}"
        shutil.copy2(root.files / "root" / PACKAGE, package)
    print(f"{suite}: built, and lintian has nothing to say", flush=True)
    # The one package is for all suites: what the oldest of them builds.
    for builder in dict.fromkeys((SUITES[0], suite)):
        built = ROOT / "dist" / f"{builder}-{PACKAGE}"
        if built.exists():
            _try(suite, built)
    with Root(suite) as root:
        root.take_sources()
        (root.files / "root").mkdir(exist_ok=True)
        shutil.copy2(package, root.files / "root" / PACKAGE)
        root.install("autopkgtest dpkg-dev")
        root.run(f"autopkgtest -B {PACKAGE} kamexfrm/ -- null")
    record(
        "deb-test",
        NAMES[suite],
        "built, lintian-clean, installed, used, upgraded, purged; autopkgtest passes",
        NAMES[suite],
    )


def _try(suite: str, package: Path) -> None:
    """Install, use, upgrade, remove and purge the package in a fresh root."""
    with Root(suite) as root:
        (root.files / "root").mkdir(exist_ok=True)
        shutil.copy2(package, root.files / "root" / PACKAGE)
        root.install("python3-click python3-pyroute2 python3-rich iproute2 systemd")
        before = root.run(SNAPSHOT)
        root.run(OLD_PACKAGE)
        root.run(f"apt-get -q -y install ./{PACKAGE}; ! dpkg -s ipsec-tools | grep -q ' installed'")
        root.run(USE)
        root.run(UPGRADE)
        root.run("apt-get -q -y remove kamexfrm; test -e /etc/kamexfrm/sysctl.conf")
        root.run("apt-get -q -y purge kamexfrm ipsec-tools; apt-get -q -y install python3-click")
        left = set(root.run(SNAPSHOT).splitlines()) - set(before.splitlines())
        if left:
            sys.exit("\n".join((f"{suite}: a purge leaves", *sorted(left))))
    print(f"{suite}: {package.name} installed, used, upgraded, purged", flush=True)


if __name__ == "__main__":
    main()
