"""``kamexfrm keygen``."""

import click

from kamexfrm.cli import options
from kamexfrm.cli.trouble import Command
from kamexfrm.errors import KamexfrmError
from kamexfrm.net import Address
from kamexfrm.operator import keygen as making

_PAIR_ALGORITHM = "aes-gcm-16"


@click.command("keygen", cls=Command)
@click.argument("words", nargs=-1, metavar="[ALGORITHM [BITS]]")
@click.option(
    "--pair", nargs=2, metavar="SRC DST", help="Print a whole file for the two ends of a link."
)
@click.option(
    "--tunnel", nargs=2, metavar="NET NET", help="The networks behind the two ends: a tunnel."
)
@click.option(
    "--level",
    type=click.Choice(["default", "use", "require"]),
    default="require",
    show_default=True,
    help="The level of the policies.",
)
@options.netns
def command(
    words: tuple[str, ...],
    pair: tuple[str, str] | None,
    tunnel: tuple[str, str] | None,
    level: str,
) -> None:
    """Print a key from the system's randomness, as setkey reads it.

    ALGORITHM is a word of setkey, such as aes-gcm-16, which --pair takes if none is written. BITS
    is the length of the key, with or without the 32 bits of salt that some algorithms need.
    """
    if len(words) > 2 or not (words or pair):
        raise click.UsageError("write an algorithm, such as kamexfrm keygen aes-gcm-16")
    if tunnel and not pair:
        raise click.UsageError("--tunnel belongs to --pair SRC DST")
    algorithm = making.algorithm(words[0] if words else _PAIR_ALGORITHM)
    bits = None
    if len(words) == 2:
        if not (words[1].isascii() and words[1].isdigit() and len(words[1]) < 6):
            raise click.UsageError(f"{words[1]!r} is no number of bits")
        bits = int(words[1])
    if not pair:
        click.echo(making.key(algorithm, bits))
        return
    ends = [_address(word) for word in pair]
    if ends[0].family != ends[1].family or ends[0] == ends[1]:
        raise click.UsageError("--pair: two different addresses of one family")
    networks = (making.network(tunnel[0]), making.network(tunnel[1])) if tunnel else None
    if networks and (":" in networks[0]) != (":" in networks[1]):
        raise KamexfrmError("--tunnel: one network is IPv4 and the other one IPv6")
    wanted = making.Pair(ends[0], ends[1], algorithm, bits, networks, level)
    for line in making.pair_lines(wanted):
        click.echo(line)


def _address(word: str) -> Address:
    try:
        return Address.parse(word)
    except ValueError:
        raise click.UsageError(f"--pair: {word!r} is no address") from None
