"""``kamexfrm doctor``: what this machine can do for IPsec, and the cure of each lack."""

import sys

import click

from kamexfrm.cli import options
from kamexfrm.cli.trouble import Command
from kamexfrm.command_line import printable
from kamexfrm.operator import doctor as examining
from kamexfrm.operator.document import document, to_text


@click.command("doctor", cls=Command)
@click.option("-a", "--all", "everything", is_flag=True, help="Show what works, too.")
@options.as_json
@options.netns
def command(everything: bool, as_json: bool) -> None:
    """Try what this kernel and its modules can do, and say how to get what is missing.

    Each thing is tried in a network namespace that is gone at the end. The status is 1 if policies
    and ESP, the main job, cannot be had.
    """
    found = examining.examine()
    able = examining.can_do_the_main_job(found)
    if as_json:
        findings = [finding._asdict() for finding in found]
        click.echo(to_text(document("doctor", able=able, findings=findings)), nl=False)
    else:
        for finding in found:
            if everything or not finding.works:
                click.echo(_line(finding))
        working = sum(finding.works for finding in found)
        verdict = "IPsec works here" if able else "IPsec does not work here"
        click.echo(f"{verdict}: {working} of {len(found)} trials succeeded")
    sys.exit(0 if able else 1)


def _line(finding: examining.Finding) -> str:
    if finding.works:
        return f"{click.style('yes', fg='green')}  {finding.what}"
    colour = "red" if finding.needed else "yellow"
    detail = f": {printable(finding.detail, '')}" if finding.detail else ""
    return f"{click.style('no', fg=colour)}   {finding.what}{detail}\n     -> {finding.cure}"
