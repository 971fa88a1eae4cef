"""What of the program around it the supervisor uses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from master.control.fifo import Fifo
from master.logs import LogHandler
from master.reloading.handover import Handover

__all__ = ["Surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of the program around it the supervisor uses."""

    on_ready: Callable[[], None]
    """Called once, when all children have been ready."""
    handover: Callable[[], Handover]
    """What the next program gets at a reload, but for the children."""
    fallback: dict[str, int]
    """What the program before a reload is run by again (Handover.fallback)."""
    private: Callable[[], Sequence[int]]
    """Descriptors that no child is to have, now."""
    fifo: Fifo
    log: LogHandler
    write_pidfile: Callable[[], None]
