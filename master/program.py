"""The program from a checked configuration on: sockets, memory, privileges, children."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

from fastrouter.config.option import declared
from fastrouter.options import Options, SubscriptionOptions
from fastrouter.shared import FORMAT, Layout, SharedState
from fastrouter.succession import Succession
from master.caches import SIGNED_TIMES, fill_caches, make_caches, make_signed_times
from master.child import Role
from master.daemon import Daemon
from master.former import Former
from master.heritage import Heritage
from master.logs import set_up_logging
from master.manager import activated_sockets
from master.privileges import drop_privileges
from master.rehearsal import rehearse
from master.reload import SUBSCRIPTION_SERVER
from master.sockets import Sockets
from master.supervisor import PID, ROUTERS, Supervisor
from workers.app import run_app
from workers.appannouncer import run_announcer
from workers.configured import named_slots
from workers.context import Context, Pipe
from workers.process import die_with_parent, set_title
from workers.router import run_router
from workers.script import run_script
from workers.stats_server import run_stats_server
from workers.subscription_server import run_subscription_server

__all__ = ["run"]

log = logging.getLogger("fastrouter")


def run(options: Options, heritage: Heritage) -> int:
    """Run until stopped; heritage is what the program before a reload has left. Returns the exit code.

    Raises BindError, CacheError and OSError when it cannot start.
    """
    given = activated_sockets(os.environ)
    started_in, environment = os.getcwd(), dict(os.environ)
    options.router.processes = heritage.processes or options.router.processes
    master = options.master
    for assignment in master.env:
        name, _, value = assignment.partition("=")
        os.environ[name] = value
    if master.umask is not None:
        os.umask(master.umask)
    # Relative to where the program was started; all else is relative to where it goes.
    log_path = os.path.abspath(path) if (path := master.daemonize or options.log.logto) else ""
    pidfile = os.path.abspath(master.pidfile) if master.pidfile else ""
    sockets = Sockets(
        options, heritage.sockets or given, {*heritage.given, *(fd for fds in given.values() for fd in fds)}
    )
    sockets.bind_shared()
    if master.chdir:
        os.chdir(master.chdir)
    context = Context(options, SharedState(_layout(options)), started_in, environment)
    _bind(context, sockets)
    if heritage.rehearsal:
        sockets.remove_files()
        return rehearse(options, heritage)
    sockets.close_former()
    former = _take_over(context, heritage)
    daemon = Daemon()
    if master.daemonize and not heritage.is_there:
        daemon.detach()
    handler = set_up_logging(log_path, options.log.log_date, heritage.log)
    _announce_start(context)
    fill_caches(context.caches, options)
    if pidfile and not heritage.is_there:
        _write_pidfile(pidfile)
    if not master.master_as_root:
        drop_privileges(master.uid, master.gid)
    set_title("fastrouter-master " + " ".join(options.files), master, master.procname_master)
    supervisor = Supervisor(
        context,
        _roles(options),
        _be_child,
        lambda: daemon.report(0),
        lambda: _heritage(context, sockets, handler.fd),
        former,
    )
    if heritage.is_asked_again:
        os.kill(os.getpid(), signal.SIGHUP)
    log.info("spawned fastrouter-master (pid: %d)", os.getpid())
    code = supervisor.run()
    if options.sockets.vacuum:
        _vacuum(sockets, pidfile)
    log.info("goodbye")
    daemon.report(code or 1)
    return code


def _bind(context: Context, sockets: Sockets) -> None:
    options = context.options
    context.shared_listeners = sockets.shared
    context.router_listeners = sockets.bind(options.router.addresses)
    context.subscription_listeners = sockets.bind_datagrams(options.router.subscription_server)
    context.app_listeners = sockets.bind(options.app.sockets)
    context.stats_listeners = sockets.bind_plain(options.router.stats)
    context.prometheus_listeners = sockets.bind_plain(options.router.prometheus)
    context.ready = _pipe()
    context.deltas = [_pipe() for _ in range(options.router.processes)]
    if options.router.subscription_server or named_slots(options.router):
        context.failures = _pipe()


def _take_over(context: Context, heritage: Heritage) -> Former:
    """Make the memory that is shared, with what the program before a reload had in its own."""
    options = context.options
    context.caches = make_caches(options, heritage.caches)
    context.signed_times = make_signed_times(options, heritage.caches)
    used = {cache.fd for cache in context.caches.values()}
    if context.signed_times is not None:
        used.add(context.signed_times.fd)
    for fd in set(heritage.caches.values()) - used:
        os.close(fd)
    succession = None
    if heritage.is_there:
        context.name = heritage.name
    if heritage.is_there and heritage.format == FORMAT:
        layout = Layout(heritage.slots, heritage.workers, heritage.apps)
        memory = SharedState(layout, heritage.state)
        first_slot = options.router.configured_slots
        succession = Succession(context.state, memory, first_slot, heritage.first_slot)
        if succession.left_out:
            log.error("%d nodes found no room in the table (subscription-max-nodes)", succession.left_out)
    elif heritage.is_there:
        os.close(heritage.state)
    return Former(heritage.children, succession)


def _heritage(context: Context, sockets: Sockets, log_fd: int) -> Heritage:
    """What the next program gets at a reload."""
    layout = context.state.layout
    caches = {name: cache.fd for name, cache in context.caches.items()}
    if context.signed_times is not None:
        caches[SIGNED_TIMES] = context.signed_times.fd
    return Heritage(
        format=FORMAT,
        name=context.name,
        sockets=sockets.bound,
        given=sorted(sockets.given),
        log=log_fd,
        state=context.state.fd,
        slots=layout.slots,
        workers=layout.workers,
        apps=layout.apps,
        first_slot=context.options.router.configured_slots,
        caches=caches,
    )


def _pipe() -> Pipe:
    return Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))


def _layout(options: Options) -> Layout:
    slots = options.router.configured_slots + options.subscription.max_nodes
    return Layout(slots, options.router.processes, options.app.processes * options.app.threads)


def _roles(options: Options) -> list[Role]:
    """The kinds of children, in the order in which they are forked.

    They are stopped in this order: no more announcements, then no more requests to route, then those that
    the application still has; the subscription server has to hear of failures until the end.
    """
    roles = []
    if _runs("script", options):
        roles.append(Role("script", 1, run_script, numbered=False, stop_rank=2))
    router, announcer = options.router, options.announcer
    if router.addresses:
        names = named_slots(router)
        if router.subscription_server or names:
            roles.append(Role(SUBSCRIPTION_SERVER, 1, run_subscription_server, numbered=False, stop_rank=3))
        own = (router.uid, router.gid)
        after = SUBSCRIPTION_SERVER if names or options.subscription.state else ""
        if router.use_cache is not None:
            # What a script puts in a cache is to be there before the first request.
            after = next((role for role in ("script", "app worker") if _runs(role, options)), "")
        roles.append(
            Role(
                "router worker",
                router.processes,
                run_router,
                numbered=True,
                stop_rank=ROUTERS,
                after=after,
                privileged_as=own,
            )
        )
    if router.stats or router.prometheus:
        roles.append(Role("stats server", 1, run_stats_server, numbered=False, stop_rank=2))
    if options.app.sockets:
        roles.append(Role("app worker", options.app.processes, run_app, numbered=True, stop_rank=2))
    if announcer.subscribe_to or announcer.subscribe2:
        roles.append(Role("announcer", 1, run_announcer, numbered=False, stop_rank=0, after="app worker"))
    return roles


def _runs(role: str, options: Options) -> bool:
    """Whether there is user code to run by a child of that role."""
    has_code = bool(options.app.wsgi_file or options.app.module)
    return has_code and bool(options.app.sockets) is (role == "app worker")


def _be_child(context: Context, role: Role, index: int, name: str, parent: int) -> NoReturn:
    """What a forked process does until its end."""
    code = 1
    try:
        master = context.options.master
        set_title(f"fastrouter: {name}", master, master.procname)
        drop_privileges(*_identity(context.options, role))
        die_with_parent(parent)
        code = role.run(context, index, lambda: _report_ready(context))
    except BaseException:
        log.exception("%s failed", name)
    finally:
        sys.stdout.flush()
        os._exit(code)


def _report_ready(context: Context) -> None:
    assert context.ready is not None
    os.write(context.ready.writer, PID.pack(os.getpid()))


def _identity(options: Options, role: Role) -> tuple[str, str]:
    """User and group of a child: the role's own, or those that the master did not take on itself."""
    user, group = role.privileged_as
    master = options.master
    if master.master_as_root:
        return user or master.uid, group or master.gid
    return user, group


def _announce_start(context: Context) -> None:
    for listener in context.router_listeners:
        log.info("fastrouter bound on %s", listener.name)
    for listener in context.subscription_listeners:
        log.info("subscription server bound on %s", listener.name)
    for listener in context.app_listeners:
        log.info("app workers bound on %s", listener.name)
    for listener in context.stats_listeners:
        log.info(
            "*** fastrouter stats server enabled on %s fd: %d ***", listener.name, listener.socket.fileno()
        )
    for listener in context.prometheus_listeners:
        log.info("figures for Prometheus on http://%s/", listener.name)
    for cache in context.caches.values():
        sizes = cache.definition
        log.info('cache "%s": %d items of up to %d bytes', cache.name, sizes.items, sizes.blocksize)
    if context.options.router.cheap:
        log.info("starting fastrouter in cheap mode")
    for problem in _without_effect(context.options):
        log.warning("%s", problem)
    used = context.options.router.forwarders
    if context.router_listeners and not used:
        log.warning("the router has no way to find a node: every request will be closed")


_NEEDS = (
    ("fallback_on_no_key", "fallback"),
    ("post_buffering_dir", "post_buffering"),
    ("resubscribe_bind", "resubscribe"),
    ("resubscribe_sign", "resubscribe"),
    ("subscription_fallback_key", "subscription_server"),
)
"""Options that only say something more of another."""


def _without_effect(options: Options) -> Iterator[str]:
    """What is configured and changes nothing, beside what else is configured or missing."""
    router = options.router
    used, *shadowed = router.forwarders or [""]
    for name in shadowed:
        yield f"{_spelled(name)} has no effect beside {_spelled(used)}"
    if router.max_conns and used in ("use_cache", "use_pattern", "use_base", "use_code_string"):
        yield f"fastrouter-max-conns has no effect beside {_spelled(used)}"
    for name, needed in _NEEDS:
        if getattr(router, name) and not getattr(router, needed):
            yield f"{_spelled(name)} has no effect without {_spelled(needed)}"
    if router.subscription_fallback_key and options.subscription.dotsplit:
        yield "fastrouter-subscription-fallback-key has no effect beside subscription-dotsplit"
    if used != "subscription_server":
        unset = SubscriptionOptions()
        for option in declared(SubscriptionOptions):
            if getattr(options.subscription, option.field) != getattr(unset, option.field):
                yield f"{option.name} has no effect without fastrouter-subscription-server"
    if router.subscription_slot:
        yield "fastrouter-subscription-slot has no effect and is not needed"


def _spelled(field: str) -> str:
    return "fastrouter-" + field.replace("_", "-")


def _write_pidfile(path: str) -> None:
    log.info("writing pidfile to %s", path)
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")


def _vacuum(sockets: Sockets, pidfile: str) -> None:
    for path in [*sockets.files(), *([pidfile] if pidfile else [])]:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("vacuum: cannot remove %s: %s", path, error.strerror)
