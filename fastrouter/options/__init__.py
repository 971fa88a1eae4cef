"""Every option, declared once: the parser, --help, --check and docs/options.md all come from here.

Names, aliases and defaults are uWSGI's where it has the option; where a default or an effect differs, the
help says so and docs/differences.md says why.
"""

from dataclasses import dataclass, field, fields

from fastrouter.options.app import AnnouncerOptions, AppOptions
from fastrouter.options.cache import CacheOptions
from fastrouter.options.declaration import Group, MappingSource, Option, SignCheck, declared
from fastrouter.options.fastrouter import FastrouterOptions
from fastrouter.options.gateway import GatewayOptions
from fastrouter.options.program import (
    HookOptions,
    LogOptions,
    MasterOptions,
    SocketOptions,
    StatisticsOptions,
)
from fastrouter.options.rawrouter import RawrouterOptions
from fastrouter.options.subscribe import SubscribeOptions
from fastrouter.options.subscription import SubscriptionOptions
from fastrouter.options.tools import DoctorOptions, ExplainOptions, RequestOptions, TopOptions

__all__ = [
    "GROUPS",
    "TOOLS",
    "AnnouncerOptions",
    "AppOptions",
    "CacheOptions",
    "DoctorOptions",
    "ExplainOptions",
    "FastrouterOptions",
    "GatewayOptions",
    "HookOptions",
    "LogOptions",
    "MappingSource",
    "MasterOptions",
    "Options",
    "RawrouterOptions",
    "RequestOptions",
    "SignCheck",
    "SocketOptions",
    "StatisticsOptions",
    "SubscribeOptions",
    "SubscriptionOptions",
    "TopOptions",
    "all_options",
]


TOOLS: tuple[type[Group], ...] = (SubscribeOptions, TopOptions, ExplainOptions, DoctorOptions, RequestOptions)
"""The options of the other commands."""


@dataclass(slots=True)
class Options:
    """A checked configuration."""

    fastrouter: FastrouterOptions = field(default_factory=FastrouterOptions)
    rawrouter: RawrouterOptions = field(default_factory=RawrouterOptions)
    subscription: SubscriptionOptions = field(default_factory=SubscriptionOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)
    sockets: SocketOptions = field(default_factory=SocketOptions)
    app: AppOptions = field(default_factory=AppOptions)
    announcer: AnnouncerOptions = field(default_factory=AnnouncerOptions)
    statistics: StatisticsOptions = field(default_factory=StatisticsOptions)
    master: MasterOptions = field(default_factory=MasterOptions)
    hooks: HookOptions = field(default_factory=HookOptions)
    log: LogOptions = field(default_factory=LogOptions)
    files: list[str] = field(default_factory=list)
    """The configuration files read, in order."""

    @property
    def families(self) -> tuple[GatewayOptions, ...]:
        """The options of every gateway that there could be."""
        return self.fastrouter, self.rawrouter

    @property
    def gateways(self) -> tuple[GatewayOptions, ...]:
        """The options of the gateways that are asked for."""
        return tuple(family for family in self.families if family.is_wanted)

    def groups(self) -> tuple[Group, ...]:
        """In the order of the fields."""
        values = (getattr(self, one.name) for one in fields(self))
        return tuple(value for value in values if isinstance(value, Group))


GROUPS: tuple[type[Group], ...] = tuple(map(type, Options().groups()))
"""All groups of options of ``fastrouter-master``."""


def all_options() -> dict[str, Option]:
    """Every option by its name and by each alias."""
    names = {}
    for group in GROUPS:
        for option in declared(group):
            for name in (option.name, *option.aliases):
                names[name] = option
    return names
