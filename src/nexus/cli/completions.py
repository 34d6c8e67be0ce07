"""`nexus completions`: the script that teaches a shell to complete our commands."""

import click
from click.shell_completion import ShellComplete, get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completions(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    For bash: `nexus completions bash >> ~/.bashrc`, and likewise ~/.zshrc; for fish:
    `nexus completions fish > ~/.config/fish/completions/nexus.fish`.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"click has no completion for {shell}")
    # the base class's `source` prints the script; bash's own would first run bash to ask for its version
    click.echo(ShellComplete.source(kind(ctx.find_root().command, {}, "nexus", "_NEXUS_COMPLETE")))
