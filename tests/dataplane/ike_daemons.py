"""Real IKE daemons in the hosts of a rig, each with files of its own.

A PF_KEY daemon reaches the kernel by a door: its own AF_KEY socket (the guest's kernel has that),
or ``kamexfrm exec``, which answers in the kernel's place.
"""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kamexfrm.net import IPPROTO_AH, IPPROTO_ESP, IPPROTO_UDP
from kamexfrm.rig import Host, TwoHosts, until
from tests.dataplane.dataplane_proof import ANSWER, BIN, MARKER, Watch, setkey

#: The command in front of the daemon's.
DOORS: dict[str, tuple[str, ...]] = {
    "af_key": (),
    "exec": (str(BIN / "kamexfrm"), "exec", "--"),
}

SHARED_WORDS = "a secret of two"

#: Seconds: a guest asks modprobe for each algorithm it lacks before AF_KEY can list them.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Two ends, the network behind each, and an address in each network; the first is one's own."""

    ends: tuple[str, str]
    networks: tuple[str, str]
    inside: tuple[str, str]

    def mirrored(self) -> "Tunnel":
        """Return what the other end calls this tunnel."""
        (a, b), (net_a, net_b), (inside_a, inside_b) = self.ends, self.networks, self.inside
        return Tunnel((b, a), (net_b, net_a), (inside_b, inside_a))

    def lay(self, hosts: TwoHosts) -> None:
        """Give both hosts their inner address, and a route to the other's."""
        for host, tunnel in zip(hosts, (self, self.mirrored()), strict=True):
            host.address("lo", f"{tunnel.inside[0]}/{128 if ':' in tunnel.inside[0] else 32}")
            host.route(tunnel.networks[1], via=tunnel.ends[1], source=tunnel.inside[0])

    def assert_protected(self, hosts: TwoHosts, *headers: int) -> None:
        """Send a packet through and back, and assert that nothing but ESP was on the wire.

        ``headers`` are all the protocols that can be read there, where it is more than ESP.
        """
        headers = headers or (IPPROTO_ESP,)
        with Watch(hosts, hosts.a) as watch:
            assert hosts.a.ping(
                self.inside[1], timeout=ANSWER, payload=MARKER, source=self.inside[0]
            )
        # UDP is the daemons' own talk: ESP is not in UDP here.
        packets = [p for p in watch.packets() if p.protocols != (IPPROTO_UDP,)]
        assert {p.direction for p in packets} == {"in", "out"}, f"on the wire:\n{watch}"
        assert {p.protocols for p in packets} == {headers}, f"on the wire:\n{watch}"
        assert watch.shows() is (IPPROTO_AH in headers), f"on the wire:\n{watch}"
        assert watch.errors() == {}


IPV4 = Tunnel(
    ("10.0.0.1", "10.0.0.2"), ("10.77.1.0/24", "10.77.2.0/24"), ("10.77.1.1", "10.77.2.1")
)
IPV6 = Tunnel(("fd00::1", "fd00::2"), ("fd77:1::/64", "fd77:2::/64"), ("fd77:1::1", "fd77:2::1"))


class Daemon:
    """A daemon that runs in a host, its words in a file."""

    def __init__(self, host: Host, command: Sequence[str], log: Path) -> None:
        self.host = host
        self.log = log
        with log.open("w") as file:
            self.process = host.start(command, stdout=file.fileno(), stderr=file.fileno())

    def wait_for(self, text: str) -> None:
        """Wait until it has said something; its last words are in the error."""

        def said() -> bool:
            words = self.log.read_text()
            assert self.process.poll() is None, f"it has ended:\n{words[-2000:]}"
            return text in words

        until(said, PATIENCE, f"{text!r} in the log of {self.host.name}")

    def stop(self) -> None:
        """Ask it to end, and assert that it does so as it should."""
        self.process.terminate()
        status = self.process.wait(PATIENCE)
        assert status == 0, f"its last words:\n{self.log.read_text()[-2000:]}"


def _etc_iked(folder: Path) -> Path:
    """Return what takes the place of /etc/iked: a private key, and no certificate."""
    etc = folder / "iked"
    if not etc.exists():
        for name in ("private", "ca", "certs", "crls"):
            (etc / name).mkdir(parents=True)
        for name in ("ipv4", "ipv6", "fqdn", "ufqdn"):
            (etc / "pubkeys" / name).mkdir(parents=True)
        key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        (etc / "private" / "local.key").write_bytes(key)
        (etc / "private" / "local.key").chmod(0o600)
    return etc


class Iked(Daemon):
    """Debian's iked, for one tunnel; IKEv2 with a shared secret, as iked.conf(5) has it.

    ``mode`` is ``active`` or ``passive``; ``lifetime`` that of the SAs: ``6``, ``1h bytes 20K``;
    ``protocol`` is ``esp``, ``ah`` or ``transport esp``, the last between the ends themselves.
    ``behind_nat`` makes it take the peers for such, and put ESP in UDP.
    """

    def __init__(
        self,
        host: Host,
        folder: Path,
        mode: str,
        tunnel: Tunnel,
        *,
        lifetime: str = "1h",
        protocol: str = "esp",
        behind_nat: bool = False,
        door: str = "af_key",
    ) -> None:
        cipher = "" if protocol == "ah" else "enc aes-256"
        file = folder / f"{host.name}.conf"
        file.touch(0o600)
        file.write_text(
            f"ikev2 {mode} {protocol} from {tunnel.networks[0]} to {tunnel.networks[1]} "
            f"local {tunnel.ends[0]} peer {tunnel.ends[1]} "
            "ikesa auth hmac-sha2-256 enc aes-128 group modp2048 "
            f"childsa auth hmac-sha2-512 {cipher} lifetime {lifetime} "
            f'psk "{SHARED_WORDS}"\n'
        )
        options = ("-dvv", "-t") if behind_nat else ("-dvv",)
        control = folder / f"{host.name}.sock"
        iked = ("/usr/sbin/iked", *options, "-f", str(file), "-s", str(control))
        # It needs a key of its own: ordinary users may not read the one that Debian made for it.
        own_etc = 'mount --bind "$1" /etc/iked && shift && exec "$@"'
        inside = ("unshare", "-m", "sh", "-c", own_etc, "sh", str(_etc_iked(folder)))
        super().__init__(host, (*inside, *DOORS[door], *iked), folder / f"{host.name}.log")

    def ready(self) -> None:
        """Wait until it has its whole configuration: what comes earlier it forgets."""
        self.wait_for("config_getstatic: no stickyaddress")


_SETTINGS = """
charon {
    # Version 6 has openssl alone for what are plugins of their own before it.
    load = random nonce drbg aes sha1 sha2 hmac kdf gmp openssl kernel-netlink socket-default vici
    install_routes = no
    port = %(port)d
    port_nat_t = %(nat_port)d
    plugins { vici { socket = unix://%(folder)s/vici } }
    filelog { stderr { default = 1, flush_line = yes } }
}
"""

_CONNECTION = """
connections { it {
    version = 2
    local_addrs = %(own_end)s
    remote_addrs = %(peer_end)s
    local_port = %(port)d
    remote_port = %(port)d
    proposals = aes128-sha256-modp2048
    local { auth = psk }
    remote { auth = psk }
    children { it {
        local_ts = %(own_network)s
        remote_ts = %(peer_network)s
        esp_proposals = aes256-sha512
        rekey_time = %(rekey)s
        start_action = %(action)s
    } }
} }
secrets { ike { secret = "%(words)s" } }
"""


class Charon(Daemon):
    """strongSwan's charon, for one ESP tunnel; it reaches the kernel by netlink.

    ``action`` is ``start``, ``trap`` (as soon as a packet asks for it) or ``none``; ``rekey`` is
    the age at which SAs are replaced: ``4s``. ``ports`` are those of IKE and of IKE with NAT-T;
    where there is another daemon on 500, charon's both ends need another first one.
    """

    def __init__(
        self,
        host: Host,
        folder: Path,
        action: str,
        tunnel: Tunnel,
        *,
        rekey: str = "1h",
        ports: tuple[int, int] = (500, 4500),
    ) -> None:
        self._folder = folder / f"{host.name}.strongswan"
        self._folder.mkdir()
        settings = self._folder / "strongswan.conf"
        settings.write_text(
            _SETTINGS % {"folder": self._folder, "port": ports[0], "nat_port": ports[1]}
        )
        (self._folder / "swanctl.conf").write_text(
            _CONNECTION
            % {
                # Away from 500, strongSwan wants the marker of NAT-T, on that port.
                "port": ports[0] if ports[0] == 500 else ports[1],
                "own_end": tunnel.ends[0],
                "peer_end": tunnel.ends[1],
                "own_network": tunnel.networks[0],
                "peer_network": tunnel.networks[1],
                "rekey": rekey,
                "action": action,
                "words": SHARED_WORDS,
            }
        )
        # Its process id is in a file below /run, whose name cannot be chosen: a /run of its own.
        own_run = 'mount -t tmpfs run /run && STRONGSWAN_CONF=$1 exec "$2"'
        charon = (str(settings), "/usr/lib/ipsec/charon")
        super().__init__(
            host, ("unshare", "-m", "sh", "-c", own_run, "sh", *charon), self._folder / "log"
        )

    def ready(self) -> None:
        """Wait until it listens, and hand it its connection."""
        until(self._listens, PATIENCE, f"charon of {self.host.name} listens")
        self.swanctl("--load-all", "--file", str(self._folder / "swanctl.conf"))

    def _listens(self) -> bool:
        """Whether it answers: version 6 makes the socket before it listens on it."""
        with socket.socket(socket.AF_UNIX) as vici:
            return vici.connect_ex(str(self._folder / "vici")) == 0

    def swanctl(self, *words: str) -> str:
        """Return what this daemon answers to a command of the program of that name."""
        uri = ("--uri", f"unix://{self._folder}/vici")
        return self.host.run(("swanctl", *words, *uri), check=True).stdout


def _mature(host: Host) -> set[str]:
    """Return the SPIs of a host's mature SAs, once policies ask for them."""
    policies = setkey(host, "-DP")
    if not all(f"\n\t{way} " in policies for way in ("in", "out")):
        return set()
    one = re.compile(r"spi=\d+\((0x[0-9a-f]+)\)(?:(?!state=).)*state=mature", re.DOTALL)
    return set(one.findall(setkey(host, "-D")))


def agreed(hosts: TwoHosts) -> set[str]:
    """Return the SPIs that both ends can use, when there is one for each way."""
    found = _mature(hosts.a) & _mature(hosts.b)
    return found if len(found) >= 2 else set()


def has_no_entry(host: Host) -> bool:
    """Whether a host has neither SAs nor policies, but for those of a daemon's sockets."""
    policies = setkey(host, "-DP")
    return setkey(host, "-D") == "No SAD entries.\n" and not re.search(
        r"\n\t(in|out|fwd) ", policies
    )
