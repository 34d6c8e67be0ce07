"""`nexus serve`: run the gateway."""

import importlib

import click

from nexus.cli.settings import SettingsCommand, config_option, load_or_exit


@click.command(cls=SettingsCommand)
@config_option
@click.pass_context
def serve(ctx: click.Context, file: str | None) -> int:
    """Run the gateway.

    Without a configuration it uses the model servers it finds on this machine. A setting comes from its flag,
    else from its variable (NEXUS_SECTION__KEY), else from the file, else it has its default.
    """
    loaded = load_or_exit(ctx, file)
    # the gateway takes a moment to import; a mistake in the configuration should not wait for it
    code: int = importlib.import_module("nexus.app.run").run(loaded)
    return code
