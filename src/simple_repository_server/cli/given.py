"""What the command line and the environment say: read once, and the same at each reload."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from simple_repository_server.config.file_config import FILE_NAME
from simple_repository_server.config.options import OPTIONS

#: The value of `--config` that has no file used.
NO_CONFIG = "none"
#: Of each group, a source of settings that sets one replaces what lower ones say about the others.
_GROUPS = ({"cache_dir", "no_cache"}, {"files", "stream_http_resources"})


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments and the `SRS_…` variables of a server."""

    sources: tuple[str, ...] = ()
    #: Whether these are from the variable `SRS_SOURCES`.
    sources_in_environment: bool = False
    #: The value of each option, by parameter name: also defaults.
    options: Mapping[str, Any]
    #: Where the value of an option is from: `--port` or `SRS_PORT`; defaults are not in it.
    origins: Mapping[str, str]
    #: The configuration file; None: none is used.
    config: Path | None = None

    def merged(self, file: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
        """All options with those of the file below arguments and variables; and which these are."""
        used = {name for name in file if name not in self.origins}
        for group in _GROUPS:
            if group & self.origins.keys():
                used -= group
        return {**self.options, **{name: file[name] for name in used}}, used

    def with_variables(self, text: str) -> str:
        """The text, in which options that variables have set are named with these."""
        for option in OPTIONS:
            origin = self.origins.get(option.parameter, "")
            if origin.startswith("SRS_"):
                name = rf"--{re.escape(option.name)}(?![\w-])"
                text = re.sub(name, rf"\g<0> (env var: '{origin}')", text, count=1)
        return text


def given_by(context: click.Context) -> Given:
    """What the arguments and variables of the context say."""
    options, origins = {}, {}
    for option in OPTIONS:
        options[option.parameter] = context.params[option.parameter]
        source = context.get_parameter_source(option.parameter)
        if source is ParameterSource.COMMANDLINE:
            origins[option.parameter] = f"--{option.name}"
        elif source is ParameterSource.ENVIRONMENT:
            origins[option.parameter] = f"SRS_{option.parameter.upper()}"
    return Given(
        sources=tuple(context.params["source"]),
        sources_in_environment=context.get_parameter_source("source")
        is ParameterSource.ENVIRONMENT,
        options=options,
        origins=origins,
        config=config_file(context.params["config"]),
    )


def config_file(text: str | None) -> Path | None:
    """The file that is named, or the one in the working directory, if there is one."""
    if text == NO_CONFIG:
        return None
    if text is not None:
        return Path(text)
    # Also a link to nothing: without the file that was meant, its rules would not hold.
    return Path(FILE_NAME) if os.path.lexists(FILE_NAME) else None
