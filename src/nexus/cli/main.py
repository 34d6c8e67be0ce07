"""The entry of the `nexus` command: finds the verb, turns what goes wrong into one line and an exit code."""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import click

from nexus import __version__, is_compiled

_VERBS = (
    "serve",
    "demo",
    "config",
    "backends",
    "models",
    "health",
    "stats",
    "explain",
    "profiles",
    "outcomes",
    "ledger",
    "completions",
)
_FAILED, _WRONG_USAGE, _INTERRUPTED = 1, 2, 130


class VerbGroup(click.Group):
    """Imports the module of a verb only when the verb is asked for, so that the command starts quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order a newcomer meets them."""
        del ctx
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command; each module of this package holds one of its own name."""
        if cmd_name not in _VERBS:
            if ctx.resilient_parsing:  # a shell asks what completes a line that is not finished
                return None
            near = difflib.get_close_matches(cmd_name, _VERBS, n=1)
            hint = f", did you mean {near[0]}?" if near else "."
            raise click.UsageError(f"No such command {cmd_name!r}{hint}", ctx)
        command: click.Command = getattr(importlib.import_module(f"nexus.cli.{cmd_name}"), cmd_name)
        return command


def _show_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"nexus {__version__}{' (compiled)' if is_compiled() else ''}")
        ctx.exit()


@click.group(
    cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version, and whether it is compiled, and exit.",
)
def nexus() -> None:
    """One OpenAI-compatible endpoint in front of every model you run.

    Nexus measures its backends on every request, routes around the ones that fail or stall, and can show why
    it decided what it decided. Start with `nexus serve`.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code.

    0: fine, 1: the operation failed, 2: wrong usage or configuration, 130: interrupted.
    """
    try:
        result = nexus.main(
            args=None if argv is None else list(argv), prog_name="nexus", standalone_mode=False
        )
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return _WRONG_USAGE
    except click.ClickException as error:
        _complain(_one_line(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BrokenPipeError:
        # the reader of our output left; what Python still holds for it must not raise again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except Exception as error:  # the last frame: whatever it is, a person gets one line
        if os.environ.get("NEXUS_TRACEBACK"):
            raise
        _complain(_described(error))
        return _FAILED
    return result if isinstance(result, int) else 0


def _complain(message: str) -> None:
    click.echo(f"nexus: {message}", err=True)


def _one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    if isinstance(error, click.UsageError) and isinstance(context, click.Context):
        end = "" if message.endswith((".", "?", ")")) else "."
        return f"{message}{end} See `{context.command_path} --help`."
    return message


def _described(error: Exception) -> str:
    from nexus.core.errors import NexusError  # noqa: PLC0415 - `nexus --version` should not pay for it

    text = " ".join(str(error).split())
    if isinstance(error, NexusError):
        return text
    name = type(error).__name__
    return f"{name}: {text} (NEXUS_TRACEBACK=1 shows where)" if text else name


if __name__ == "__main__":
    sys.exit(main())
