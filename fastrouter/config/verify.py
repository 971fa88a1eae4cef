"""What can be wrong with values that are right one by one: checked before anything is bound."""

import grp
import os
import pwd
from collections.abc import Callable, Iterator, Mapping, Sequence

from fastrouter.address import AddressError, Inherited, Shared, Unix, parse_node
from fastrouter.cache.definition import CacheError, parse_definition, parse_item
from fastrouter.config.addresses import parse_destination, parse_listener, said_twice, streams
from fastrouter.config.dialect.pairs import Origin, comment_hint
from fastrouter.options import GatewayOptions, Options
from fastrouter.options.app import is_file
from fastrouter.subscriptions.policy import PolicyError, parse_rule
from fastrouter.subscriptions.subscriber import SubscriberError, parse_subscriptions

__all__ = ["verify"]


def verify(options: Options, origins: Mapping[str, Sequence[Origin]]) -> list[str]:
    """All problems, each with its place, option and expectation."""
    checks = (
        _addresses,
        _zerg,
        _nodes,
        _subscription_servers,
        _admission,
        _caches,
        _application,
        _used_sockets,
        _mounts,
        _subscriptions,
        _identities,
        _places,
    )

    def place(name: str, position: int) -> str:
        where = origins.get(name, ())
        return str(where[position]) if position < len(where) else "configuration"

    problems = []
    for check in checks:
        for name, position, value, problem in check(options):
            problems.append(f"{place(name, position)}: {name} = {value}: {problem}{comment_hint(value)}")
    for first, second, value in said_twice(options):
        other = f"it is {first[0]}'s of {place(*first)}"
        problems.append(f"{place(*second)}: {second[0]} = {value}: the same address twice; {other}")
    return problems


_Problems = Iterator[tuple[str, int, str, str]]
"""(option, which of its occurrences, value, what was expected)"""


def _addresses(options: Options) -> _Problems:
    shared = _shared_sockets(options)
    for name, addresses in streams(options).items():
        for position, text in enumerate(addresses):
            try:
                binding = parse_listener(text)
            except AddressError as error:
                yield name, position, text, _after_quote(error)
                continue
            if isinstance(binding, Shared) and name.endswith("shared-socket"):
                yield name, position, text, "a shared socket needs an address of its own"
            elif isinstance(binding, Shared) and binding.number >= shared:
                there_are = (
                    f"there are {shared} shared sockets, numbered from 0"
                    if shared
                    else "there is no shared-socket"
                )
                yield name, position, text, there_are


def _zerg(options: Options) -> _Problems:
    used = {
        "zerg-server": [options.sockets.zerg_server] if options.sockets.zerg_server else [],
        "zerg": options.app.zerg,
    }
    used |= {f"{gateway.PREFIX}-zerg": gateway.zerg for gateway in options.families}
    for name, addresses in used.items():
        for position, text in enumerate(addresses):
            yield from _unix_socket(name, position, text, text)
    for position, text in enumerate(options.sockets.zergpool):
        server, _, offered = text.partition(":")
        yield from _unix_socket("zergpool", position, text, server)
        try:
            bindings = [parse_listener(address) for address in offered.split(",")]
        except AddressError as error:
            yield "zergpool", position, text, f"expected PATH:ADDRESS[,ADDRESS]..., but {error}"
            continue
        if any(isinstance(binding, Shared) for binding in bindings):
            yield "zergpool", position, text, "a pool needs addresses of its own"


def _unix_socket(name: str, position: int, value: str, address: str) -> _Problems:
    try:
        if isinstance(parse_listener(address), Unix):
            return
    except AddressError:
        pass
    yield name, position, value, "expected the path of a UNIX socket; no other can pass descriptors"


def _nodes(options: Options) -> _Problems:
    for gateway in options.families:
        for name, addresses in (("to", gateway.to), ("fallback", gateway.fallback)):
            for position, text in enumerate(addresses):
                try:
                    parse_destination(text)
                except AddressError as error:
                    yield f"{gateway.PREFIX}-{name}", position, text, _after_quote(error)


def _subscription_servers(options: Options) -> _Problems:
    for gateway in options.families:
        name = f"{gateway.PREFIX}-subscription-server"
        for position, text in enumerate(gateway.subscription_server):
            if problem := _no_subscription_server(text, options.subscription.credentials):
                yield name, position, text, problem
        if gateway.resubscribe and not gateway.subscription_server:
            problem = f"there is no {name} to take announcements"
            yield f"{gateway.PREFIX}-resubscribe", 0, gateway.resubscribe[0], problem


def _no_subscription_server(text: str, credentials: bool) -> str:
    """Why an address is none of a subscription server; empty when it is one."""
    try:
        binding = parse_listener(text)
    except AddressError as error:
        return _after_quote(error)
    if isinstance(binding, Shared | Inherited):
        return "expected HOST:PORT or the path of a UNIX socket"
    if isinstance(binding, Unix) and binding.abstract:
        return "uWSGI cannot announce to abstract sockets; give a path"
    if credentials and not isinstance(binding, Unix):
        return "subscriptions-use-credentials needs the path of a UNIX socket"
    return ""


def _admission(options: Options) -> _Problems:
    subscription = options.subscription
    nobody = "without subscriptions-use-credentials nobody is known"
    for option, asked in (
        ("subscriptions-credentials-check", subscription.credentials_check),
        ("subscriptions-sign-skip-uid", subscription.sign_skip_uid),
    ):
        if asked and not subscription.credentials:
            yield option, 0, str(asked[0]), nobody
    for position, text in enumerate(subscription.allow):
        try:
            rule = parse_rule(text)
        except PolicyError as error:
            yield "subscription-allow", position, text, str(error)
            continue
        if (rule.uids or rule.gids) and not subscription.credentials:
            yield "subscription-allow", position, text, nobody
        if rule.signers and subscription.sign_check is None:
            yield "subscription-allow", position, text, "without subscriptions-sign-check nobody signs"
    check = subscription.sign_check
    if check is not None and not os.path.isdir(os.path.join(options.master.chdir or ".", check.directory)):
        yield "subscriptions-sign-check", 0, check.directory, "there is no such directory"


def _caches(options: Options) -> _Problems:
    names = ["default"] if options.cache.cache else []
    for position, text in enumerate(options.cache.cache2):
        try:
            names.append(parse_definition(text).name)
        except CacheError as error:
            yield "cache2", position, text, str(error)
            return
        if names.count(names[-1]) > 1:
            yield "cache2", position, text, f"there is a cache called {names[-1]!r} already"
    there_are = (
        f"there is no such cache, only {', '.join(names)}" if names else "there is no cache; add cache = N"
    )
    for gateway in options.families:
        wanted = gateway.use_cache
        if wanted is not None and (not names or (wanted and wanted not in names)):
            yield f"{gateway.PREFIX}-use-cache", 0, wanted, there_are
    for position, text in enumerate(options.cache.add_item):
        try:
            cache, _, _ = parse_item(text)
        except CacheError as error:
            yield "add-cache-item", position, text, str(error)
            continue
        if not names or (cache and cache not in names):
            yield "add-cache-item", position, text, there_are
    for position, text in enumerate(options.cache.load_file):
        cache, blank, _ = text.partition(" ")
        if not names or (blank and cache not in names):
            yield "load-file-in-cache", position, text, there_are


def _application(options: Options) -> _Problems:
    app = options.app
    if app.wsgi_file and app.module:
        yield "wsgi-file", 0, app.wsgi_file, "there is a module as well; give one of them"
    elif (
        (app.wsgi_file or app.module)
        and not app.is_served
        and not (options.cache.cache or options.cache.cache2)
    ):
        yield (
            "wsgi-file" if app.wsgi_file else "module",
            0,
            app.wsgi_file or app.module,
            "the application needs a socket to accept requests on, or a cache to fill",
        )
    elif app.need_app and not app.is_there:
        yield "need-app", 0, "true", "there is no application; give wsgi-file, module or mount"


def _used_sockets(options: Options) -> _Problems:
    there_are = len(options.app.sockets)
    for gateway in options.families:
        number = gateway.use_socket
        if number is not None and number >= there_are and not options.app.zerg:
            problem = f"there are {there_are} sockets, numbered from 0"
            yield f"{gateway.PREFIX}-use-socket", 0, str(number), problem


def _mounts(options: Options) -> _Problems:
    app, start = options.app, options.master.chdir or "."
    for position, text in enumerate(app.mount):
        application = text.partition("=")[2]
        if is_file(application) and not os.path.isfile(os.path.join(start, application)):
            yield "mount", position, text, "there is no such file"


def _subscriptions(options: Options) -> _Problems:
    for name, values in (
        ("subscribe-to", options.announcer.subscribe_to),
        ("subscribe2", options.announcer.subscribe2),
    ):
        for position, text in enumerate(values):
            try:
                both = ([text], []) if name == "subscribe-to" else ([], [text])
                (subscription,) = parse_subscriptions(*both)
            except SubscriberError as error:
                yield name, position, text, str(error)
                continue
            sockets = _shared_sockets(options) if subscription.shared else len(options.app.sockets)
            if options.app.zerg and not subscription.shared:
                continue  # how many there are is known when they are there
            if not subscription.address and subscription.socket >= max(sockets, 1):
                yield name, position, text, f"there is no socket number {subscription.socket}"
            elif not subscription.address and not sockets:
                yield name, position, text, "there is no socket whose address could be announced"


def _shared_sockets(options: Options) -> int:
    return len(options.sockets.shared_socket) + len(options.sockets.undeferred_shared_socket)


def _identities(options: Options) -> _Problems:
    chown_user, _, chown_group = options.sockets.chown_socket.partition(":")
    users = {"uid": options.master.uid, "chown-socket": chown_user}
    groups = {"gid": options.master.gid, "chown-socket": chown_group}
    for gateway in options.families:
        users[f"{gateway.PREFIX}-uid"], groups[f"{gateway.PREFIX}-gid"] = gateway.uid, gateway.gid
    for name, user in users.items():
        if user and not user.isdecimal() and not _known(pwd.getpwnam, user):
            yield name, 0, user, "there is no such user"
    for position, group in enumerate(options.master.add_gid):
        if not group.isdecimal() and not _known(grp.getgrnam, group):
            yield "add-gid", position, group, "there is no such group"
    if options.master.cap and not options.master.uid:
        yield "cap", 0, ",".join(options.master.cap), "without uid, all capabilities are kept"
    for name, group in groups.items():
        if group and not group.isdecimal() and not _known(grp.getgrnam, group):
            yield name, 0, group, "there is no such group"


def _places(options: Options) -> _Problems:
    start = options.master.chdir or "."
    if options.master.chdir and not os.path.isdir(options.master.chdir):
        yield "chdir", 0, options.master.chdir, "there is no such directory"
    elif options.app.wsgi_file and not os.path.isfile(os.path.join(start, options.app.wsgi_file)):
        yield "wsgi-file", 0, options.app.wsgi_file, "there is no such file"
    for name, path in (
        ("pidfile", options.master.pidfile),
        ("subscription-state", options.subscription.state),
        ("logto", options.log.logto),
        ("daemonize", options.master.daemonize),
    ):
        if path and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            yield name, 0, path, "there is no such directory"

    for gateway in options.families:
        yield from _places_of(gateway, start)
    if options.log.logto and options.log.is_datagrams:
        try:
            parse_node(options.log.logto)
        except AddressError as error:
            yield "logto", 0, options.log.logto, _after_quote(error)
    state = options.subscription.state
    if state and os.path.exists(state) and not os.path.isfile(state):
        yield "subscription-state", 0, state, "it is not a file"


def _places_of(gateway: GatewayOptions, start: str) -> _Problems:
    prefix, source, log = gateway.PREFIX, gateway.use_code_string, gateway.log
    directory = gateway.post_buffering_dir
    if directory and not os.path.isdir(os.path.join(start, directory)):
        yield f"{prefix}-post-buffering-dir", 0, directory, "there is no such directory"
    if source is not None and source.is_file and not os.path.isfile(os.path.join(start, source.script)):
        yield f"{prefix}-use-code-string", 0, source.script, "there is no such file"
    if log and not os.path.isdir(os.path.dirname(os.path.abspath(os.path.join(start, log)))):
        yield f"{prefix}-log", 0, os.path.join(start, log), "there is no such directory"


def _known(look_up: Callable[[str], object], name: str) -> bool:
    try:
        look_up(name)
    except KeyError:
        return False
    return True


def _after_quote(error: AddressError) -> str:
    """An address error without the address, which is in front already."""
    return str(error).partition(": ")[2] or str(error)
