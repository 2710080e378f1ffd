#!/usr/bin/python
"""Ansible module: write variables of kame-sysctl(8) where they differ, and gather facts."""

import json

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: kamexfrm
short_description: Variables and facts of kamexfrm
description:
  - Writes variables of C(kame-sysctl) that differ from what is wanted, and gathers facts.
  - What the module writes is in force at once, until the next boot; the role writes the files.
author: the kamexfrm authors
options:
  variables:
    description: Names of variables to values, by number or by the name of a value.
    type: dict
    default: {}
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
"""

RETURN = r"""
changes:
  description: What was written, or would be, as name to old and new value.
  type: dict
  returned: always
"""

#: Values that have a name; kame-sysctl(8) lists the others by number alone.
NAMES = {
    "def_policy": {"discard": 0, "none": 1},
    "deflev": {"use": 1, "require": 2},
}


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


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "variables": {"type": "dict", "default": {}},
            "gather": {"type": "bool", "default": False},
            "bin": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    wanted = {
        name: number(module, name, value) for name, value in module.params["variables"].items()
    }
    present = json.loads(run(module, "kame-sysctl", "--json", *wanted)) if wanted else {}
    changes = {
        name: {"old": present[name], "new": value}
        for name, value in wanted.items()
        if present[name] != value
    }
    if changes and not module.check_mode:
        run(module, "kame-sysctl", "-q", *(f"{name}={c['new']}" for name, c in changes.items()))
    result = {"changed": bool(changes), "changes": changes}
    if changes:
        result["diff"] = {
            way: "".join(f"{name} = {c[key]}\n" for name, c in sorted(changes.items()))
            for way, key in (("before", "old"), ("after", "new"))
        }
    if module.params["gather"]:
        result["ansible_facts"] = {"kamexfrm": facts(module)}
    module.exit_json(**result)


def facts(module):
    """Return what is in force; no keys."""
    return {
        "variables": json.loads(run(module, "kame-sysctl", "--json", "-a")),
        "policies": len(json.loads(run(module, "setkey", "--json", "-DP"))),
        "associations": len(json.loads(run(module, "setkey", "--json", "--nokeys", "-D"))),
    }


if __name__ == "__main__":
    main()
