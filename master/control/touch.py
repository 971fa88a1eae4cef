"""Files that do something when they are touched."""

import os
from collections.abc import Callable, Mapping, Sequence

__all__ = ["Touched"]


class Touched:
    """Looks at the times of files; one that comes or goes counts as touched, too."""

    def __init__(self, actions: Mapping[Callable[[], None], Sequence[str]]) -> None:
        """The files of each action."""
        self._actions = {action: list(files) for action, files in actions.items() if files}
        self._times = {file: _time(file) for files in self._actions.values() for file in files}

    def look(self) -> None:
        """Do what belongs to the files that were touched since the last look, each thing once."""
        times = {file: _time(file) for file in self._times}
        touched = {file for file, time in times.items() if time != self._times[file]}
        self._times = times
        for action, files in self._actions.items():
            if not touched.isdisjoint(files):
                action()


def _time(file: str) -> int:
    """When it was changed last; 0 when it is not there."""
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0
