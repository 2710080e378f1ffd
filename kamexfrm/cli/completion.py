"""``kamexfrm completion``: shell code that completes kamexfrm, setkey and kame-sysctl."""

import os
from collections.abc import Iterable

import click
from click.shell_completion import get_completion_class

from kamexfrm.cli.trouble import Command
from kamexfrm.command_line import Syntax

SHELLS = ("bash", "zsh", "fish")

#: What completes the two commands that are not click's: they ask ``kamexfrm completion --words``.
_OTHERS = {
    "bash": """
_kamexfrm_words() {
    local words
    case "${COMP_WORDS[COMP_CWORD-1]}" in
    --netns) words=$(kamexfrm completion --words netns) ;;
    -f|-p|--load) compopt -o default; COMPREPLY=(); return ;;
    *) words=$(kamexfrm completion --words "$1") ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
    if [ "$1" = setkey ] && [ ${#COMPREPLY[@]} = 0 ]; then compopt -o default; fi
}
complete -F _kamexfrm_words setkey kame-sysctl
""",
    "zsh": """
_kamexfrm_words() {
    case "${words[CURRENT-1]}" in
    --netns) compadd -- $(kamexfrm completion --words netns) ;;
    -f|-p|--load) _files ;;
    *) compadd -- $(kamexfrm completion --words "$service") ;;
    esac
}
compdef _kamexfrm_words setkey kame-sysctl
""",
    "fish": """
complete -c setkey -l netns -x -a '(kamexfrm completion --words netns)'
complete -c setkey -a '(kamexfrm completion --words setkey)'
complete -c kame-sysctl -l netns -x -a '(kamexfrm completion --words netns)'
complete -c kame-sysctl -a '(kamexfrm completion --words kame-sysctl)'
""",
}


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.option("--words", "kind", hidden=True, help="Print the words of a kind, one in each line.")
def command(shell: str | None, kind: str | None) -> None:
    """Print shell code that completes kamexfrm, setkey and kame-sysctl.

    Names of variables and namespaces are those of now. For bash: eval "$(kamexfrm completion bash)"
    in ~/.bashrc.
    """
    if kind is not None:
        click.echo("\n".join(_words(kind)))
        return
    if shell is None:
        raise click.UsageError(f"for which shell: {', '.join(SHELLS)}?")
    kind_of_shell = get_completion_class(shell)
    if kind_of_shell is None:  # click has all three
        raise click.UsageError(f"no completion for {shell}")
    root = click.get_current_context().find_root().command
    source = kind_of_shell(root, {}, "kamexfrm", "_KAMEXFRM_COMPLETE").source()
    click.echo(source + _OTHERS[shell])


def _words(kind: str) -> Iterable[str]:
    match kind:
        case "netns":
            return namespaces()
        case "kame-sysctl":
            from kamexfrm.model.knobs import KNOBS
            from kamexfrm.sysctl.arguments import SYNTAX

            return [knob.name for knob in KNOBS] + _options(SYNTAX)
        case "setkey":
            from kamexfrm.setkey.arguments import SYNTAX

            return _options(SYNTAX)
        case _:
            raise click.UsageError(f"--words: no kind {kind}")


def _options(syntax: Syntax) -> list[str]:
    return sorted(name.rstrip("=") for name in syntax.names)


def namespaces() -> list[str]:
    """Return the names of ip-netns(8), sorted."""
    from kamexfrm.kernel.namespace import NAMED

    try:
        return sorted(os.listdir(NAMED))
    except OSError:
        return []
