"""``kamexfrm check``."""

import sys
from typing import Any

import click

from kamexfrm.cli import options
from kamexfrm.cli.trouble import Command
from kamexfrm.command_line import printable
from kamexfrm.model.knobs import Knobs
from kamexfrm.operator.check.checking import check
from kamexfrm.operator.check.codes import CODES, Finding, Severity
from kamexfrm.operator.check.reading import read_configuration
from kamexfrm.operator.document import document, to_text
from kamexfrm.operator.knob_files import with_settings

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_WORDS = {severity: severity.name.lower() for severity in Severity}


class _Check(Command):
    """Lets ``--peer`` take all words that follow."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words: list[str] = []
        files = follows = 0
        for word in args:
            is_option = word.startswith("-") and word != "-"
            if follows and not is_option and words[-1] != "--peer" and files:
                words.append("--peer")
            files += not (is_option or follows)
            follows = word == "--peer" or (follows and not is_option)
            words.append(word)
        return super().parse_args(ctx, words)


@click.command("check", cls=_Check)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--peer", multiple=True, metavar="FILE...", help="The files of the other end.")
@click.option("--sysctl", multiple=True, metavar="FILE", help="Variables, as kame-sysctl -f reads.")
@click.option("--ignore", multiple=True, metavar="CODE,...", help="Leave these findings out.")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "note"]),
    default="error",
    show_default=True,
    help="From which severity on the status is 1.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the status tells.")
@options.as_json
@options.netns
def command(
    files: tuple[str, ...],
    peer: tuple[str, ...],
    sysctl: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say what is wrong or doubtful in setkey files, without loading them.

    Several files are one configuration, loaded in their order.
    """
    ignored = _codes(ignore)
    knobs = with_settings(Knobs(), sysctl)
    mine = read_configuration(files, knobs, has_variables=bool(sysctl))
    theirs = read_configuration(peer, knobs) if peer else None
    findings = check(mine, theirs, ignored)
    if not quiet:
        _print(findings, as_json)
    if any(finding.severity >= Severity[fail_on.upper()] for finding in findings):
        sys.exit(1)


def _codes(words: tuple[str, ...]) -> set[str]:
    codes = {code for word in words for code in word.upper().replace(",", " ").split()}
    for code in sorted(codes - set(CODES)):
        from kamexfrm.spelling import nearest

        near = " or ".join(nearest(code, CODES)) or "KX001"
        raise click.UsageError(f"--ignore {code}: there is no such code; {near}?")
    return codes


def _print(findings: list[Finding], as_json: bool) -> None:
    if as_json:
        click.echo(to_text(document("check", findings=[_row(f) for f in findings])), nl=False)
        return
    colours = options.colours()
    for finding in findings:
        word = _WORDS[finding.severity]
        shown = click.style(word, fg=_COLOURS[finding.severity]) if colours else word
        place = printable(str(finding.place), "")
        click.echo(f"{place}: {shown}: {printable(finding.message, '')} [{finding.code}]")
        click.echo(f"    {printable(finding.cure, '')}")


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "file": printable(finding.place.file, ""),
        "line": finding.place.line,
        "column": finding.place.column or 1,
        "code": finding.code,
        "severity": _WORDS[finding.severity],
        "message": printable(finding.message, ""),
        "cure": printable(finding.cure, ""),
    }
