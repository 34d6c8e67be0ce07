"""Write docs/reference/configuration.md and docs/reference/cli.md from the code.

    python tools/gen_reference.py [--check]

With --check nothing is written; exit code 1 says that a page is out of date.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click
from pydantic import BaseModel

from nexus.cli.main import nexus
from nexus.cli.settings import SettingOption
from nexus.config.backend import BackendSettings
from nexus.config.catalogue import Setting, all_settings, by_section, section_about, walk
from nexus.config.routing import RoutingPolicy
from nexus.config.values import to_toml

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
NOTICE = (
    "<!-- Written by tools/gen_reference.py. Change the code it is made from, then run `make format`. -->\n"
)

CONFIGURATION = """\
# Configuration

Every setting has a place in the file, an environment variable and a flag of `nexus serve`. Which one counts:
**flag over environment over file over default**. `nexus config init` writes a file with every setting in it,
`nexus config check` validates, `nexus config show` prints the values in effect with the source of each.

- **File.** `nexus.toml` in the working directory, or the one named by `--config` or `NEXUS_CONFIG`. No file
  is fine.
- **Environment.** `NEXUS_<SECTION>__<KEY>`, one more `__` for a table inside a section:
  `NEXUS_QUALITY__ERROR_RATE_THRESHOLD=0.15`, `NEXUS_ROUTING__BUDGET__MONTHLY_LIMIT_USD=50`. Lists and tables
  are JSON or TOML. An empty variable counts as unset, except where the setting is text. `.env` files are not
  read.
- **Flags.** `--<section>-<key>` with dashes: `--quality-error-rate-threshold 0.15`. A boolean takes `true` or
  `false`; the flag alone means `true`.

A mistake is never ignored. All of them are reported at once, each with its line, variable or flag, and
nothing is started. Settings marked *live* change when the file changes or on SIGHUP; the others
need a restart.
"""

CLI = """\
# Command line

Exit codes: 0 fine, 1 the operation failed, 2 wrong usage or configuration, 130 interrupted (`nexus serve`
ends with 0 on SIGINT and SIGTERM). Errors go to standard error. `--json` prints valid JSON and nothing else.

The flags that stand for settings are listed in [configuration.md](configuration.md).
"""


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with `--check` compare them; the exit code."""
    pages = {FOLDER / "configuration.md": configuration_page(), FOLDER / "cli.md": cli_page()}
    stale = [page for page, text in pages.items() if not page.exists() or page.read_text("utf-8") != text]
    if "--check" in arguments:
        for page in stale:
            print(f"{page.relative_to(ROOT)} is out of date; run `make format`", file=sys.stderr)
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for page in stale:
        page.write_text(pages[page], encoding="utf-8")
        print(f"wrote {page.relative_to(ROOT)}")
    return 0


def configuration_page() -> str:
    """The page of all settings."""
    parts = [NOTICE, CONFIGURATION]
    for section, settings in by_section().items():
        plain = [setting for setting in settings if setting.key != "backends"]
        parts.append(
            f"## `[{section}]`\n\n{section_about(section)}\n" if section else "## Above the sections\n"
        )
        parts.append(_table(("key", "default", "value", "what"), map(_setting_row, plain)))
    parts.append(_model_part("[[backends]]", BackendSettings))
    parts.append(_model_part("[[routing.policies]]", RoutingPolicy))
    parts.append("## Variables and flags\n")
    parts.append(_table(("setting", "variable", "flag"), map(_name_row, all_settings())))
    return "\n".join(parts)


def cli_page() -> str:
    """The page of all verbs."""
    parts = [NOTICE, CLI]
    with click.Context(nexus, info_name="nexus") as context:
        for path, command in _commands(nexus, context, "nexus"):
            parts.append(f"## `{path}`\n\n{_prose(command)}\n")
            rows = list(_option_rows(command))
            if rows:
                parts.append(_table(("option", "default", "what"), rows))
    return "\n".join(parts)


def _commands(group: click.Group, context: click.Context, path: str) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, context, f"{path} {name}")
        elif command is not None:
            yield f"{path} {name}", command


def _prose(command: click.Command) -> str:
    return "\n".join(line.strip() for line in (command.help or "").replace("\b", "").splitlines()).strip()


def _option_rows(command: click.Command) -> Iterator[tuple[str, ...]]:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not isinstance(parameter, SettingOption):
            value = "" if parameter.is_flag else f" {parameter.metavar or parameter.type.name.upper()}"
            default = parameter.default if parameter.show_default else ""
            names = ", ".join(parameter.opts)
            yield f"`{names}{value}`", f"`{default}`" if default else "", parameter.help or ""
        elif isinstance(parameter, click.Argument) and isinstance(parameter.type, click.Choice):
            yield f"`{(parameter.name or '').upper()}`", "", f"One of {', '.join(parameter.type.choices)}."
    if any(isinstance(parameter, SettingOption) for parameter in command.params):
        yield "`--<section>-<key>`", "", "Any setting; see [configuration.md](configuration.md)."


def _model_part(title: str, model: type[BaseModel]) -> str:
    about = (model.__doc__ or "").partition(": ")[2]
    rows = map(_setting_row, walk(model))
    return f"## `{title}`\n\n{about[:1].upper()}{about[1:]}\n\n" + _table(
        ("key", "default", "value", "what"), rows
    )


def _setting_row(setting: Setting) -> tuple[str, ...]:
    if setting.field.is_required():
        default = "needed"
    elif setting.default is None or setting.key == "data_dir":
        default = "none" if setting.default is None else '`""`'
    else:
        default = f"`{to_toml(setting.default)}`"
    what = setting.description + (f" Example: `{setting.example}`." if setting.example else "")
    return f"`{setting.name}`", default, setting.allowed, what + (" *Live.*" if setting.live else "")


def _name_row(setting: Setting) -> tuple[str, ...]:
    variables = f"`{setting.variable}`" + (
        f", `{setting.legacy_variable}`" if setting.legacy_variable else ""
    )
    flags = f"`{setting.flag}`" + (f", `{setting.short_flag}`" if setting.short_flag else "")
    return f"`{setting.key}`", variables, flags


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
