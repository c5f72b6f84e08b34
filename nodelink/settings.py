"""Settings of a service, read once at its start: a flag beats the environment, that the file, that the default.

A service describes its settings as a frozen dataclass whose fields `setting()` makes; `read_settings()` fills it.
In the TOML file a key is a field's name. Keys of one service alone may stand in a table of its name (`[agent]`), so
that services can share a file.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from nodelink.durations import format_duration, parse_duration
from nodelink.selectors import check_label

EX_CONFIG = 78
"""The exit code of a service whose settings are not right (as sysexits.h has it)."""
MAX_LABELS = 64

Parser = Callable[[str], Any]

_Settings = TypeVar("_Settings")
_Value = TypeVar("_Value")


class SettingError(Exception):
    """A setting is not right. The message names it, where it came from, and what would be right."""

    def __init__(self, name: str, source: str, problem: str) -> None:
        super().__init__(f"setting {name} (from {source}): {problem}")
        self.name = name
        self.source = source


@dataclass(frozen=True, slots=True)
class Setting:
    """How one setting is given. Empty `env` or `flag`: it cannot be given so. `table`: a table of the file, as JSON."""

    about: str
    env: str
    flag: str
    parse: Parser
    switch: bool
    table: bool


class Given(NamedTuple):
    """A value as it was given, and where."""

    text: str
    source: str


def setting(
    about: str,
    *,
    env: str = "",
    flag: str = "",
    parse: Parser = str,
    table: bool = False,
    default: Any = dataclasses.MISSING,
    default_factory: Any = dataclasses.MISSING,
) -> Any:
    """A field of a settings dataclass. `parse` turns text into the value; its ValueError says what would be right.

    A flag whose parser is `yes_or_no` is a switch: it takes no value. Of a `table` the parser gets the JSON text.
    """
    how = Setting(about=about, env=env, flag=flag, parse=parse, switch=parse is yes_or_no, table=table)
    if default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=default_factory, metadata={"setting": how})
    return dataclasses.field(default=default, metadata={"setting": how})


def read_settings(
    cls: type[_Settings],
    *,
    program: str,
    section: str,
    argv: Sequence[str],
    environ: Mapping[str, str],
) -> _Settings:
    """The settings as the command line, the environment and the file `--config` give them.

    Exits with code 2 for flags that do not exist, 0 after `--help`. SettingError: a value is not right.
    """
    parser = argparse.ArgumentParser(prog=program, description=(cls.__doc__ or "").strip(), allow_abbrev=False)
    add_flags(parser, cls)
    arguments = vars(parser.parse_args(argv))
    path = arguments.pop("config") or environ.get("NODELINK_CONFIG")
    file = read_file(Path(path), cls, section) if path else {}
    return load(cls, flags=arguments, environ=environ, file=file)


def add_flags(parser: argparse.ArgumentParser, cls: type[Any]) -> None:
    """Teach a command line the flags of the settings, and `--config`."""
    parser.add_argument("--config", metavar="FILE", help="a TOML file with settings (NODELINK_CONFIG)")
    for name, how, default in _described(cls):
        if not how.flag:
            continue
        text = (how.about + _remark(how, default)).replace("%", "%%")  # argparse would format it
        if how.switch:
            parser.add_argument(how.flag, dest=name, action="store_const", const="yes", help=text)
        else:
            parser.add_argument(how.flag, dest=name, metavar=name.upper(), help=text)


def load(
    cls: type[_Settings],
    *,
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    file: Mapping[str, Given],
) -> _Settings:
    """The settings from values by field name (flags, file) and by variable. SettingError: a value is not right."""
    values = {}
    for name, how, default in _described(cls):
        given = _given(name, how, flags, environ, file)
        if given is not None:
            values[name] = _parsed(name, how, given)
        elif default is dataclasses.MISSING:
            raise SettingError(name, "nowhere", f"it must be given: {how.flag or name} or {how.env}")
    return cls(**values)


def read_file(path: Path, cls: type[Any], section: str) -> dict[str, Given]:
    """What a TOML file gives, by field name. SettingError: it cannot be read, or has a key that does not exist."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError("config", str(path), f"the file cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError("config", str(path), f"the file is not TOML: {error}") from error
    own = content.pop(section, {})
    tables = {name: how.table for name, how, _ in _described(cls)}
    names = set(tables)
    shared = {key: value for key, value in content.items() if key in names or not isinstance(value, dict)}
    merged = {**shared, **own}
    for key in merged:
        if key not in names:
            raise SettingError(key, str(path), _unknown(key, names))
    return {
        key: Given(json.dumps(value, default=str) if tables[key] else _as_text(value), str(path))
        for key, value in merged.items()
    }


def whole_number(minimum: int, maximum: int) -> Parser:
    """A parser of whole numbers within bounds."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= maximum:
            raise ValueError(f"{text!r} is not a whole number from {minimum} to {maximum}")
        return value

    return parse


def one_of(*choices: str) -> Parser:
    """A parser of a fixed choice of words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
        return text

    return parse


def seconds(minimum: float = 0.0, maximum: float = float("inf")) -> Parser:
    """A parser of durations (`1h30m`, `500ms`) within bounds, into seconds."""

    def parse(text: str) -> float:
        value = parse_duration(text)
        if not minimum <= value <= maximum:
            bound = f"at least {format_duration(minimum)}" if value < minimum else f"at most {format_duration(maximum)}"
            raise ValueError(f"{text!r} must be {bound}")
        return value

    return parse


def yes_or_no(text: str) -> bool:
    """A parser of switches."""
    if text.lower() in {"yes", "true", "on", "1"}:
        return True
    if text.lower() in {"no", "false", "off", "0", ""}:
        return False
    raise ValueError(f"{text!r} is neither yes nor no")


def labels(text: str) -> dict[str, str]:
    """A parser of labels: `key=value,key=value`."""
    found = pairs(text, "labels", "key=value,key=value")
    for name, value in found.items():
        check_label(name, value)
    if len(found) > MAX_LABELS:
        raise ValueError(f"{len(found)} labels are too many; give at most {MAX_LABELS}")
    return found


def each(values: Mapping[str, str], parse: Callable[[str], _Value]) -> dict[str, _Value]:
    """Values by name, each parsed. ValueError names the one that is not right, and says what would be."""
    parsed: dict[str, _Value] = {}
    for name, value in values.items():
        try:
            parsed[name] = parse(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return parsed


def pairs(text: str, what: str, example: str) -> dict[str, str]:
    """Names with their values, each name once, as `name=value,name=value`. ValueError says what would be right."""
    found: dict[str, str] = {}
    for part in (part for part in text.split(",") if part.strip()):
        name, separator, value = (side.strip() for side in part.partition("="))
        if not name or not separator:
            raise ValueError(f"{text!r} is not a list of {what}; write {example}")
        if name in found:
            raise ValueError(f"{text!r} names {name!r} twice; name each once")
        found[name] = value
    return found


def _described(cls: type[Any]) -> Iterator[tuple[str, Setting, Any]]:
    for field in dataclasses.fields(cls):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        yield field.name, field.metadata["setting"], default


def _given(
    name: str, how: Setting, flags: Mapping[str, str | None], environ: Mapping[str, str], file: Mapping[str, Given]
) -> Given | None:
    flag = flags.get(name)
    if flag is not None:
        return Given(flag, how.flag)
    if how.env and how.env in environ:
        return Given(environ[how.env], how.env)
    return file.get(name)


def _parsed(name: str, how: Setting, given: Given) -> Any:
    try:
        return how.parse(given.text)
    except ValueError as error:
        raise SettingError(name, given.source, str(error)) from error


def _as_text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(map(_as_text, value))
        case dict():
            return ",".join(f"{key}={_as_text(part)}" for key, part in value.items())
        case _:
            return str(value)


def _unknown(key: str, names: set[str]) -> str:
    close = difflib.get_close_matches(key, names, n=1)
    return f"there is no such setting; did you mean {close[0]}?" if close else "there is no such setting"


def _remark(how: Setting, default: Any) -> str:
    parts = [how.env] if how.env else []
    if default not in (dataclasses.MISSING, None, "", False, {}):
        shown = format_duration(default) if isinstance(default, float) else str(default)
        parts.append(f"default: {shown}")
    return f" ({'; '.join(parts)})" if parts else ""
