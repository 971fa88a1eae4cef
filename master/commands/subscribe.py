"""The command ``fastrouter-subscribe``: announces a program that knows nothing of announcements."""

import logging
import sys
from collections.abc import Sequence

from fastrouter.address import AddressError, host_name, parse_node
from fastrouter.config.dialect.pairs import ConfigError
from fastrouter.config.tool import parse_tool
from fastrouter.options import SubscribeOptions
from fastrouter.reference.help import tool_help
from fastrouter.reference.version import version
from fastrouter.subscriptions.subscriber import SubscriberError, Subscription
from master.commands.supervised_program import SupervisedProgram

__all__ = ["main"]

_WRONG_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the program's exit code, 128 and the signal if one killed it; 2 for a wrong command line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    at = words.index("--") if "--" in words else len(words)
    try:
        options, commands, more = parse_tool(SubscribeOptions, words[:at])
        if more:
            raise ConfigError(f"what is {more[0]!r}? The program to run comes behind --")
        if "help" in commands:
            print(tool_help(SubscribeOptions))
            return 0
        if "version" in commands:
            print(version())
            return 0
        subscriptions = options.subscriptions()
        _check_addresses(subscriptions)
    except (ConfigError, SubscriberError, AddressError) as error:
        print(f"fastrouter-subscribe: {error}", file=sys.stderr)
        return _WRONG_USAGE
    logging.basicConfig(format="fastrouter-subscribe: %(message)s", level=logging.INFO)
    return SupervisedProgram(options, subscriptions, words[at + 1 :]).run()


def _check_addresses(subscriptions: Sequence[Subscription]) -> None:
    """Raises AddressError for what nobody can be reached at."""
    for subscription in subscriptions:
        for address in (subscription.server, subscription.address):
            if not host_name(address):
                parse_node(address)


if __name__ == "__main__":
    sys.exit(main())
