"""The commented file that `nexus config init` writes."""

from textwrap import wrap

from nexus.config.backend import BackendSettings
from nexus.config.catalogue import Setting, by_section, section_about, walk
from nexus.config.values import to_toml

_WIDTH = 100
_HEAD = """\
# Nexus configuration.
#
# Every setting stands here with its default. To change one, remove the # in front of it.
# `nexus config check` validates this file, `nexus config show` prints what is in effect.
# Environment variables and flags win over this file.
"""
_BACKENDS = """\
# Backends, one [[backends]] table each. Without any, model servers on the well-known local ports
# are used. An example:
#
#   [[backends]]
#   name = "GPU box"
#   url = "http://127.0.0.1:8000"
#   type = "vllm"
#
# The keys of a backend:
#
"""


def template() -> str:
    """A TOML file that names every setting with its default and changes none.

    A line `#key = value` becomes a setting when its `#` is removed; all other comments are for people.
    """
    parts = [_HEAD]
    for section, settings in by_section().items():
        if section:
            parts.append(_header(section))
        parts += [_entry(setting) for setting in settings if setting.key != "backends"]
    parts.append(_BACKENDS + "".join(_backend_key(setting) for setting in walk(BackendSettings)))
    return "\n".join(parts)


def _header(section: str) -> str:
    return f"{_comment(section_about(section))}[{section}]\n"


def _entry(setting: Setting) -> str:
    lines = _comment(setting.description)
    if setting.choices:
        lines += _comment(f"One of: {', '.join(setting.choices)}.")
    if setting.example:
        lines += _comment(f"Example: {setting.name} = {setting.example}")
    if setting.key == "data_dir":
        return lines + '#data_dir = ""\n'
    return lines if setting.default is None else f"{lines}#{setting.name} = {to_toml(setting.default)}\n"


def _backend_key(setting: Setting) -> str:
    needed = setting.field.is_required()
    default = "needed" if needed else f"default {to_toml(setting.default)}"
    choices = f" One of: {', '.join(setting.choices)}." if setting.choices else ""
    return _comment(f"  {setting.name} ({default}): {setting.description}{choices}", indent="    ")


def _comment(text: str, indent: str = "") -> str:
    lines = wrap(text, _WIDTH - 2, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)
