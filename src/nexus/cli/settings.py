"""The flags that stand for settings, made from the configuration model."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from nexus.config.catalogue import Kind, Setting, all_settings, section_about
from nexus.config.errors import ConfigError
from nexus.config.load import LoadedConfig, load_config
from nexus.config.values import to_toml

_GIVEN = "nexus.cli.settings"
_METAVARS = {
    Kind.TEXT: "TEXT",
    Kind.BOOLEAN: "[true|false]",
    Kind.WHOLE: "INTEGER",
    Kind.NUMBER: "NUMBER",
    Kind.LIST: "JSON",
    Kind.TABLE: "JSON",
}


class SettingOption(click.Option):
    """A flag for one setting.

    Its text is kept as it is: the loader reads and checks it together with all the others.
    """

    def __init__(self, setting: Setting, flag: str) -> None:
        self.section = "" if flag == setting.short_flag or not setting.section else setting.section
        boolean = setting.kind is Kind.BOOLEAN
        super().__init__(
            [flag],
            type=click.STRING,
            metavar="|".join(setting.choices) or _METAVARS[setting.kind],
            help=_help(setting),
            expose_value=False,
            callback=_remember,
            is_flag=False,
            flag_value="true" if boolean else None,
        )


class SettingsCommand(click.Command):
    """A command that takes every setting as a flag, and lists them by section in its help."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shorts = [SettingOption(each, each.short_flag) for each in all_settings() if each.short_flag]
        self.params = [*self.params, *shorts, *(SettingOption(each, each.flag) for each in all_settings())]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options first, then those of each section."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record:
                groups.setdefault(getattr(option, "section", ""), []).append(record)
        for section, records in groups.items():
            with formatter.section(
                f"[{section}] {section_about(section).rstrip('.')}" if section else "Options"
            ):
                formatter.write_dl(records, col_max=48)


def config_option(command: Any) -> Any:
    """Adds `--config PATH`, passed on as `file`."""
    return click.option(
        "--config",
        "file",
        metavar="PATH",
        help="The configuration file; without it NEXUS_CONFIG, else nexus.toml if there is one.",
    )(command)


def load_or_exit(ctx: click.Context, file: str | None) -> LoadedConfig:
    """The configuration with the flags of this command.

    Every problem is printed on a line of its own to standard error before the command ends with exit code 2.
    """
    flags: Mapping[str, str] = ctx.meta.get(_GIVEN, {})
    try:
        return load_config(Path(file) if file else None, os.environ, flags, Path.cwd())
    except ConfigError as error:
        print_problems(error)
        raise click.exceptions.Exit(2) from error


def print_problems(error: ConfigError) -> None:
    """One line per problem, on standard error."""
    for problem in error.problems:
        click.echo(str(problem), err=True)


def _remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.meta.setdefault(_GIVEN, {})[param.opts[0]] = value


def _help(setting: Setting) -> str:
    default = setting.default
    if setting.is_table or default in (None, "", (), {}) or setting.key == "data_dir":
        return setting.description
    return f"{setting.description}  [default: {default if isinstance(default, str) else to_toml(default)}]"
