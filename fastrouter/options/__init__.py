"""Every option, declared once: the parser, --help, --check and docs/options.md all come from here.

Names, aliases and defaults are uWSGI's where it has the option; where a default or an effect differs, the
help says so and docs/differences.md says why.
"""

from dataclasses import dataclass, field

from fastrouter.options.app import AnnouncerOptions, AppOptions
from fastrouter.options.cache import CacheOptions
from fastrouter.options.declaration import Group, MappingSource, Option, SignCheck, declared
from fastrouter.options.program import (
    FiguresOptions,
    HookOptions,
    LogOptions,
    MasterOptions,
    SocketOptions,
)
from fastrouter.options.router import RouterOptions
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
    "FiguresOptions",
    "HookOptions",
    "LogOptions",
    "MappingSource",
    "MasterOptions",
    "Options",
    "RequestOptions",
    "RouterOptions",
    "SignCheck",
    "SocketOptions",
    "SubscribeOptions",
    "SubscriptionOptions",
    "TopOptions",
    "all_options",
]


GROUPS: tuple[type[Group], ...] = (
    RouterOptions,
    SubscriptionOptions,
    CacheOptions,
    SocketOptions,
    AppOptions,
    AnnouncerOptions,
    FiguresOptions,
    MasterOptions,
    HookOptions,
    LogOptions,
)


TOOLS: tuple[type[Group], ...] = (SubscribeOptions, TopOptions, ExplainOptions, DoctorOptions, RequestOptions)
"""The options of the other commands."""


@dataclass(slots=True)
class Options:
    """A checked configuration."""

    router: RouterOptions = field(default_factory=RouterOptions)
    subscription: SubscriptionOptions = field(default_factory=SubscriptionOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)
    sockets: SocketOptions = field(default_factory=SocketOptions)
    app: AppOptions = field(default_factory=AppOptions)
    announcer: AnnouncerOptions = field(default_factory=AnnouncerOptions)
    figures: FiguresOptions = field(default_factory=FiguresOptions)
    master: MasterOptions = field(default_factory=MasterOptions)
    hooks: HookOptions = field(default_factory=HookOptions)
    log: LogOptions = field(default_factory=LogOptions)
    files: list[str] = field(default_factory=list)
    """The configuration files read, in order."""

    @property
    def gateways(self) -> tuple[RouterOptions, ...]:
        """The options of the gateways that are asked for."""
        return (self.router,) if self.router.is_wanted else ()

    def groups(self) -> tuple[Group, ...]:
        return (
            self.router,
            self.subscription,
            self.cache,
            self.sockets,
            self.app,
            self.announcer,
            self.figures,
            self.master,
            self.hooks,
            self.log,
        )


def all_options() -> dict[str, Option]:
    """Every option by its name and by each alias."""
    names = {}
    for group in GROUPS:
        for option in declared(group):
            for name in (option.name, *option.aliases):
                names[name] = option
    return names
