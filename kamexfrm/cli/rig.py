"""``kamexfrm rig``: scripted network namespaces to try and test IPsec configurations in."""

import json
import sys
from pathlib import Path

import click

from kamexfrm.cli import rig_up
from kamexfrm.cli.options import as_json
from kamexfrm.cli.rig_cases import (
    FILE,
    PASSED,
    SELECTION,
    SKIPPED,
    read_cases,
    show,
    standard_input,
    usage,
    width_of,
)
from kamexfrm.cli.rig_run import run
from kamexfrm.command_line import printable
from kamexfrm.operator.document import to_text


@click.group()
def rig() -> None:
    """Try and test IPsec configurations on hosts made of network namespaces.

    A scenario is a TOML file: hosts and links, a setkey script for each host, steps and what is
    expected of them. See kame-rig(7).
    """


for each in (run, *rig_up.COMMANDS):
    rig.add_command(each)


@rig.command()
@click.argument("kind", required=False)
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Write it to a new file instead.")
@click.option("--force", is_flag=True, help="Overwrite that file if it is there.")
def new(kind: str | None, output: Path | None, force: bool) -> None:
    """Print a scenario to begin with; without KIND, say which there are.

    To a file: kamexfrm rig new tunnel -o tunnel.rig.toml
    """
    from kamexfrm.rig.scenario.reading import gallery
    from kamexfrm.rig.scenario.reading.table import suggestion

    if kind is None:
        if output is not None:
            usage(f"-o {output}: a KIND is wanted; kamexfrm rig new lists them")
        for name in gallery.kinds():
            show(f"{name:<16} {gallery.title_of(name)}", 17)
        return
    if kind not in gallery.kinds():
        usage(f"no kind {kind}{suggestion(kind, gallery.kinds())}")
    text = gallery.path_of(kind).read_text(encoding="utf-8")
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        usage(f"{output} is there already: --force overwrites it")
    except OSError as error:
        usage(f"{output}: {error.strerror}")


@rig.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of scenarios, for editors.

    Name it in a scenario's first line: #:schema ./rig.schema.json
    """
    from kamexfrm.rig.scenario.reading import schema

    click.echo(schema.PATH.read_text(encoding="utf-8"), nl=False)


@rig.command()
@click.argument("file", type=FILE)
@click.option("-k", "pattern", default="", help="The first case with this in FILE[CASE].")
@click.option("--svg", is_flag=True, help="Print an SVG picture.")
def graph(file: Path, pattern: str, svg: bool) -> None:
    """Draw the hosts and links of a scenario."""
    from kamexfrm.rig.scenario.report import graph as drawing

    case = read_cases((file,), pattern, standard_input((file,)))[0]
    width = width_of(sys.stdout)
    click.echo(drawing.svg(case) if svg else drawing.text(case, width), nl=False)


@rig.command("list")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@click.option("-k", "pattern", default="", metavar="EXPR", help=SELECTION)
@as_json
def list_cases(files: tuple[Path, ...], pattern: str, as_json: bool) -> None:
    """List the cases of scenarios; a way to check files without running them."""
    from kamexfrm.cli import rig_documents
    from kamexfrm.rig.scenario.report import transcript as report

    cases = read_cases(files, pattern, standard_input(files))
    if as_json:
        click.echo(to_text(rig_documents.cases_document(cases)), nl=False)
        return
    for case in cases:
        click.echo(printable(report.identity(case), ""))


@rig.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Say which kernels can run scenarios here, and what is to be done where one cannot.

    The status is 0 when ESP can be tried somehow, else 4.
    """
    from kamexfrm.rig.scenario.stage import doctor as examining

    findings = examining.findings()
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        for finding in findings:
            show(f"{'yes' if finding.well else 'no':<4} {finding.what}", 5)
            for more in filter(None, (finding.cure, finding.note)):
                show(f"     {more}", 2)
    sys.exit(PASSED if examining.able(findings) else SKIPPED)
