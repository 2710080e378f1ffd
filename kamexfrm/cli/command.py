"""The command ``kamexfrm``: which subcommands there are, and where their code is."""

import click

from kamexfrm.cli.lazy_group import Entry, LazyGroup, Section
from kamexfrm.cli.shared_options import share

#: What ``kamexfrm --help`` lists, in its order. A test holds the lines against each command's own.
SECTIONS = (
    Section(
        "See and understand",
        (
            Entry(
                "status",
                "Show variables, policies and what serves them, and SAs, with problems first.",
                "kamexfrm.cli.status:status",
            ),
            Entry(
                "explain",
                "Say what KAME does with a packet and why, and what Linux does.",
                "kamexfrm.cli.explain:command",
            ),
            Entry(
                "watch",
                "Print what happens to SAs, policies and variables, one line for each event.",
                "kamexfrm.cli.watch:watch",
            ),
            Entry(
                "doctor",
                "Try what this kernel and its modules can do, and say how to get what is missing.",
                "kamexfrm.cli.doctor:command",
            ),
            Entry(
                "stats",
                "Count the packets that IPsec dropped, and say why.",
                "kamexfrm.cli.stats:stats",
            ),
            Entry(
                "check",
                "Say what is wrong or doubtful in setkey files, without loading them.",
                "kamexfrm.cli.check:command",
            ),
        ),
    ),
    Section(
        "Write files",
        (
            Entry(
                "mirror",
                "Print the setkey file of the peer: in and out exchanged, comments and layout"
                " kept.",
                "kamexfrm.cli.mirror:command",
            ),
            Entry(
                "translate",
                "Translate setkey files to ip xfrm commands, and what ip xfrm prints or reads to"
                " setkey's.",
                "kamexfrm.cli.translate:command",
            ),
            Entry(
                "keygen",
                "Print a key from the system's randomness, as setkey reads it.",
                "kamexfrm.cli.keygen:command",
            ),
        ),
    ),
    Section(
        "Plan, apply, save",
        (
            Entry(
                "plan",
                "Show what would have to be done for this namespace to hold what FILEs say.",
                "kamexfrm.cli.plan:plan",
            ),
            Entry(
                "apply",
                "Make this namespace hold what FILEs say, as a whole or not at all.",
                "kamexfrm.cli.plan:apply",
            ),
            Entry(
                "confirm",
                "Let the change of `kamexfrm apply --confirm` stay.",
                "kamexfrm.cli.plan:confirm",
            ),
            Entry(
                "save",
                "Write SAs and policies, keys included, as a file that setkey and apply load.",
                "kamexfrm.cli.save:save",
            ),
        ),
    ),
    Section(
        "Change",
        (
            Entry(
                "exempt",
                "Let neighbour discovery, DHCP, IKE or a service pass where def_policy is 0.",
                "kamexfrm.cli.exempt:exempt",
            ),
            Entry(
                "adopt",
                "Take over the policies of other programs in place, without losing a packet.",
                "kamexfrm.cli.ownership:adopt",
            ),
            Entry(
                "reset",
                "Take away all that is kamexfrm's own: variables, def_policy's block and tags.",
                "kamexfrm.cli.ownership:reset",
            ),
            Entry(
                "lockdown",
                "Discard what no policy lets pass, or stop that, in the safe order.",
                "kamexfrm.cli.exempt:lockdown",
            ),
            Entry(
                "interface",
                "Route-based IPsec: interfaces whose traffic goes through a tunnel.",
                "kamexfrm.cli.interface:interface",
            ),
            Entry(
                "boot",
                "Put into force what the files below /etc say, as the service does at boot.",
                "kamexfrm.cli.boot:boot",
            ),
        ),
    ),
    Section(
        "Run programs",
        (
            Entry(
                "help",
                "Print the help of kamexfrm, or of one of its commands.",
                "kamexfrm.cli.help:command",
            ),
            Entry(
                "completion",
                "Print shell code that completes kamexfrm, setkey and kame-sysctl.",
                "kamexfrm.cli.completion:command",
            ),
            Entry(
                "exec",
                "Run an unmodified program that needs PF_KEY on a kernel without AF_KEY.",
                "kamexfrm.cli.execute:execute",
            ),
            Entry(
                "guest",
                "Run COMMAND as root of a User-Mode-Linux guest that has ESP, AH, IPComp and"
                " AF_KEY.",
                "kamexfrm.cli.guest:guest",
            ),
        ),
    ),
    Section(
        "Try and test",
        (
            Entry(
                "demo",
                "Show the main job on two hosts: setkey, ESP on the wire, and what the knobs"
                " change.",
                "kamexfrm.cli.demo_command:demo",
            ),
            Entry(
                "rig",
                "Try and test IPsec configurations on hosts made of network namespaces.",
                "kamexfrm.cli.rig:rig",
            ),
        ),
    ),
)


@click.group(
    cls=LazyGroup, sections=SECTIONS, context_settings={"help_option_names": ["-h", "--help"]}
)
def main() -> None:
    """KAME's IPsec interface for Linux: look at it, explain it, try it out."""


share(main)
