"""`nexus completions`: the script that teaches a shell to complete our commands."""

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

_SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(tuple(_SHELLS)))
@click.pass_context
def completions(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    For bash: `nexus completions bash >> ~/.bashrc`, and likewise ~/.zshrc; for fish:
    `nexus completions fish > ~/.config/fish/completions/nexus.fish`.
    """
    # the base class's `source` prints the script; bash's own would first run bash to ask for its version
    click.echo(ShellComplete.source(_SHELLS[shell](ctx.find_root().command, {}, "nexus", "_NEXUS_COMPLETE")))
