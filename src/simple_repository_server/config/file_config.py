"""What a configuration file says, as values; importing it does not import pydantic."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from simple_repository_server.config.mistakes import KeyPath
from simple_repository_server.config.rule_settings import RuleSettings
from simple_repository_server.config.settings import IndexSettings, Source
from simple_repository_server.upstream.egress import Egress, stamps_of
from simple_repository_server.upstream.proxies import Proxies

#: The name of the file that is used if none is named.
FILE_NAME = "simple-repository-server.toml"


class OwnEgress(msgspec.Struct, frozen=True, kw_only=True):
    """What a source has of its own, in addition to, or instead of, what holds for all."""

    proxies: Proxies | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None

    def of(self, common: Egress) -> Egress:
        """The whole egress of the source."""
        own = () if self.ca_file is None else (self.ca_file,)
        return Egress(
            proxies=common.proxies if self.proxies is None else self.proxies,
            authorities=(*common.authorities, *own),
            client_cert=self.client_cert,
            client_key=self.client_key,
            stamps=common.stamps + stamps_of((self.ca_file, self.client_cert, self.client_key)),
        )


class FileConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says."""

    path: Path
    #: The values of the options that it sets, by parameter name, as the command line has them.
    options: Mapping[str, Any] = MappingProxyType({})
    #: The key in the file of each of these.
    keys: Mapping[str, KeyPath] = MappingProxyType({})
    sources: tuple[Source, ...] = ()
    #: What each source has of its own, by position.
    own_egress: Mapping[int, OwnEgress] = MappingProxyType({})
    source_rules: Mapping[int, tuple[RuleSettings, ...]] = MappingProxyType({})
    indexes: tuple[IndexSettings, ...] = ()
    osv: Path | None = None
    audit: Path | None = None
