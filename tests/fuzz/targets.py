"""All targets by name: ``make fuzz`` runs each, and a test tries a few inputs of each."""

from importlib import import_module

from tests.fuzz.target import Target

#: The targets and what each reads. The module ``NAME_laws`` has the target.
TARGETS = {
    "pfkey": "PF_KEY messages, and the requests and entries that they are translated to",
    "netlink": "netlink datagrams, each XFRM message, and what a policy or SA of the kernel says",
    "setkey": "setkey's lexer and parser",
    "policy": "the policy language of ipsec_set_policy(3)",
    "scenario": "scenario files of the rig",
    "sysctl": "kame-sysctl's files and assignments",
}


def load(name: str) -> Target:
    """Import a target: what it tests is not loaded before that."""
    target: Target = import_module(f"tests.fuzz.{name}_laws").TARGET
    return target
