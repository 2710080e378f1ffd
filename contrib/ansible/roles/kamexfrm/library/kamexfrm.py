#!/usr/bin/python
"""Ansible module: bring a host to what its files and variables say, and gather facts."""

import json
import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: kamexfrm
short_description: Policies, SAs, variables and facts of kamexfrm
description:
  - Brings the host to what files of C(setkey) and variables of C(kame-sysctl) say, as
    C(kamexfrm apply) does it, as a whole or not at all. What is the same is not touched, and what
    other programs made is left alone.
  - Variables are in force at once, until the next boot; the role writes the files.
author: the kamexfrm authors
options:
  variables:
    description: Names of variables to values, by number or by the name of a value.
    type: dict
    default: {}
  etc:
    description:
      - The folder with C(kamexfrm/) and C(ipsec-tools.conf), whose files are put into force; see
        kamexfrm-boot(8). Policies of ours that are in none of them are deleted. Without it only the
        variables are written.
    type: path
    default: ""
  gather:
    description: Return the variables and the numbers of policies and SAs as C(ansible_facts).
    type: bool
    default: false
  bin:
    description: The folder of the commands, where it is not in the path.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Let the level default mean require
  kamexfrm:
    variables:
      net.inet.ipsec.esp_trans_deflev: require

- name: Have in force what the files say
  kamexfrm:
    etc: /etc
"""

RETURN = r"""
changes:
  description: What was done, or would be, as kamexfrm-json(7) has it of a plan. No keys are in it.
  type: list
  elements: dict
  returned: always
"""

#: Values that have a name; kame-sysctl(8) lists the others by number alone.
NAMES = {
    "def_policy": {"discard": 0, "none": 1},
    "deflev": {"use": 1, "require": 2},
}

CLOSED = {"net.inet.ipsec.def_policy": 0, "net.inet6.ipsec6.def_policy": 0}


def run(module, name, *words):
    """Run a command of kamexfrm; return its output. The module fails where it fails."""
    folder = module.params["bin"]
    command = f"{folder}/{name}" if folder else module.get_bin_path(name, required=True)
    status, out, err = module.run_command([command, *words])
    if status:
        module.fail_json(msg=err.strip() or f"{name} failed", cmd=[name, *words], rc=status)
    return out


def number(module, name, value):
    """Return a wanted value as its number."""
    words = next((words for end, words in NAMES.items() if name.endswith(end)), {})
    value = words.get(str(value), value)
    try:
        return int(str(value), 0)
    except ValueError:
        module.fail_json(msg=f"{name}: {value!r} is no value of it")


def scripts(etc):
    """Return the files of setkey below a folder, in the order of kamexfrm-boot(8)."""
    ours = etc / "kamexfrm"
    lockdown = ours / "lockdown.conf"
    first = [path for path in (lockdown, etc / "ipsec-tools.conf") if path.exists()]
    tools = sorted((etc / "ipsec-tools.d").glob("[!.]*.conf"))
    others = [
        p for p in sorted(ours.glob("[!.]*.conf")) if p not in (lockdown, ours / "sysctl.conf")
    ]
    return [*first, *tools, *others]


def bring(module, variables):
    """Bring the host to what is wanted; return the changes, which check mode does not make."""
    etc = module.params["etc"]
    files = scripts(Path(etc)) if etc else []
    if etc and (Path(etc) / "kamexfrm" / "lockdown.conf").exists():
        variables = {**CLOSED, **variables}
    options = ["--json", "--prune" if etc else "--no-prune"]
    if not module.check_mode:
        options.append("--yes")
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "sysctl.conf"
        wanted.write_text("".join(f"{name} = {value}\n" for name, value in variables.items()))
        command = "plan" if module.check_mode else "apply"
        names = list(map(str, files)) or [os.devnull]
        done = run(module, "kamexfrm", command, *options, "--sysctl", str(wanted), *names)
    return json.loads(done)["changes"]


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "variables": {"type": "dict", "default": {}},
            "etc": {"type": "path", "default": ""},
            "gather": {"type": "bool", "default": False},
            "bin": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    variables = {
        name: number(module, name, value) for name, value in module.params["variables"].items()
    }
    changes = bring(module, variables) if variables or module.params["etc"] else []
    result = {"changed": bool(changes), "changes": changes}
    if changes:
        result["diff"] = {
            "before": "".join(f"{c['before']}\n" for c in changes if c["before"]),
            "after": "".join(f"{c['text']}\n" for c in changes if c["action"] != "delete"),
        }
    if module.params["gather"]:
        result["ansible_facts"] = {"kamexfrm": facts(module)}
    module.exit_json(**result)


def facts(module):
    """Return what is in force; no keys."""
    status = json.loads(run(module, "kamexfrm", "status", "--json"))
    return {
        "variables": status["knobs"],
        "policies": len(status["policies"]),
        "associations": len(status["sas"]),
    }


if __name__ == "__main__":
    main()
