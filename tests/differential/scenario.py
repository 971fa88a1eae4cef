"""What a scenario is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from differential.stage import Stage

SUBSCRIPTION = ("--fastrouter-subscription-server={dir}/sub.sock",)


@dataclass(frozen=True)
class Scenario:
    """Something done to a router; what is seen is to be the same with both."""

    name: str
    act: Callable[[Stage], object]
    differs: str = ""
    """The row of docs/differences.md (its first column) that explains why it is not the same."""
    ours: object = None
    """What is seen with ours where it differs."""


@dataclass(frozen=True)
class Group:
    """Scenarios for one set of options, played in order on one router of each kind."""

    name: str
    options: Sequence[str]
    scenarios: Sequence[Scenario]
    files: Mapping[str, str] = field(default_factory=dict)
    nodes: Sequence[tuple[str, str]] = ()
    """Further nodes on UNIX sockets: name and path."""
    setup: Callable[[Stage], object] | None = None
    prefix: str = "fastrouter"
    """Of the router's options."""
    starts: bool = True
    """False: whether it starts is to be seen."""


def exits(name, *options, files=None, differs="", ours=None) -> Group:
    """A configuration that at least one of the two does not run with."""
    scenario = Scenario(name, lambda stage: stage.outcome(), differs, ours)
    return Group(name, options, [scenario], files or {}, starts=False)
