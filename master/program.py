"""The program from a checked configuration on: sockets, memory, privileges, children."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from fastrouter.cells import Table
from fastrouter.memfd import shared_memory
from fastrouter.options import Options
from fastrouter.shared import FORMAT, AppState, Layout, SharedState
from fastrouter.subscriber import parse_subscriptions
from fastrouter.succession import Succession
from master.banner import announce_start
from master.caches import SIGNED_TIMES, fill_caches, make_caches, make_signed_times
from master.capabilities import forbid_new, keep, let_go_of_exec
from master.child import Child, Role
from master.daemon import Daemon
from master.fifo import Fifo
from master.former import Former
from master.former_program import fallback_of
from master.heritage import Heritage
from master.hooks import HookError, run_accepting_hooks, run_hooks
from master.live import publish
from master.logs import LogHandler, set_up_logging
from master.manager import activated_sockets
from master.pidfile import vacuum, write_pidfile, write_pidfile_again
from master.privileges import drop_privileges, identity
from master.rehearsal import rehearse
from master.roles import ROUTER, roles
from master.sockets import BindError, Sockets
from master.supervisor import APP, PID, Supervisor
from master.surroundings import Surroundings
from workers.appannouncer import is_announced, what_is_announced
from workers.configured import named_slots
from workers.context import Context, Pipe
from workers.process import BOOT_FAILURE, die_with_parent, set_title
from workers.sinks import open_log

__all__ = ["run"]

log = logging.getLogger("fastrouter")


def run(options: Options, heritage: Heritage) -> int:
    """Run until stopped; heritage is what the program before a reload has left. Returns the exit code.

    Raises BindError, CacheError, HookError and OSError when it cannot start.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO)  # until it is known where to
    # Relative to where the program was started; all else is relative to where it goes.
    master = options.master
    log_path, pidfile = _log_path(options), os.path.abspath(master.pidfile) if master.pidfile else ""
    context, sockets = _bound(options, heritage)
    if heritage.rehearsal:
        sockets.remove_files()
        return rehearse(options, heritage, log_path)
    sockets.close_former()
    former = _take_over(context, heritage)
    daemon = Daemon()
    if master.daemonize and not heritage.is_there:
        daemon.detach()
    handler = set_up_logging(options.log, log_path, heritage.log, not heritage.is_there)
    return _supervise(context, sockets, heritage, former, handler, pidfile, daemon)


def _bound(options: Options, heritage: Heritage) -> tuple[Context, Sockets]:
    """Bind everything, in the directory that the configuration says. Raises BindError and HookError."""
    given = activated_sockets(os.environ)
    started_in, environment = os.getcwd(), dict(os.environ)
    is_new = not heritage.is_there
    umask = _set_environment(options, heritage)
    _run_hooks(options, is_new, "asap")
    taken = {*heritage.given, *(fd for fds in given.values() for fd in fds)}
    is_committed = not is_new and not heritage.rehearsal
    sockets = Sockets(options, heritage.sockets or given, taken, is_committed)
    sockets.bind_shared()
    _run_hooks(options, is_new, "pre-jail", "in-jail", "post-jail")
    if options.master.chdir:
        os.chdir(options.master.chdir)
    context = Context(
        options,
        SharedState(_layout(options)),
        AppState(options.app.processes * options.app.threads),
        started_in,
        heritage.command or sys.orig_argv[1:],
        environment,
        umask,
    )
    _bind(context, sockets)
    return context, sockets


def _supervise(
    context: Context,
    sockets: Sockets,
    heritage: Heritage,
    former: Former,
    handler: LogHandler,
    pidfile: str,
    daemon: Daemon,
) -> int:
    """Fork, and see to the children until the end. Returns the exit code."""
    options, master, is_new = context.options, context.options.master, not heritage.is_there
    fallback = fallback_of(options)
    _open_access_log(context, heritage)
    announce_start(context)
    fill_caches(context.caches, options)
    owner = identity(master.uid, master.gid)
    fifo = Fifo(master.fifo, owner, None if is_new else heritage.fifos, heritage.active_fifo)
    if is_new:
        write_pidfile(pidfile)
    _become_the_user(options, is_new)
    live = publish(context)
    set_title("fastrouter-master " + " ".join(options.files), master, master.procname_master)
    _run_hooks(options, is_new, "pre-app")
    _run_as_master_starts(options, is_new)
    surroundings = Surroundings(
        on_ready=partial(_is_ready, options, heritage, daemon),
        heritage=lambda: _heritage(context, sockets, handler, fifo, fallback),
        fallback=heritage.fallback,
        private=lambda: [live, *fallback.values(), *heritage.fallback.values()],
        fifo=fifo,
        log=handler,
        write_pidfile=lambda: write_pidfile_again(pidfile),
    )
    supervisor = Supervisor(context, roles(options), partial(_be_child, is_new), former, surroundings)
    if heritage.is_asked_again:
        os.kill(os.getpid(), signal.SIGHUP)
    log.info("spawned fastrouter-master (pid: %d)", os.getpid())
    try:
        exit_code = supervisor.run()
    except BaseException:
        supervisor.kill_children()
        raise
    os.close(live)
    _end(options, sockets, fifo, pidfile)
    daemon.report(exit_code or 1)
    return exit_code


def _set_environment(options: Options, heritage: Heritage) -> int:
    """What the children are to have. Returns the mask of files that the program was started with."""
    options.router.processes = heritage.processes or options.router.processes
    for assignment in options.master.env:
        name, _, value = assignment.partition("=")
        os.environ[name] = value
    return _set_umask(heritage.umask, options.master.umask)


def _set_umask(original: int, configured: int | None) -> int:
    """The mask to begin with, or the one of before a reload. Returns what it was at the very start."""
    if original < 0:
        original = os.umask(0o077)
    os.umask(original if configured is None else configured)
    return original


def _log_path(options: Options) -> str:
    """The log file; empty when the log goes elsewhere."""
    path = options.master.daemonize or ("" if options.log.is_datagrams else options.log.logto)
    return os.path.abspath(path) if path else ""


def _run_hooks(options: Options, wanted: bool, *phases: str) -> None:
    for phase in phases:
        if wanted:
            run_hooks(options.hooks, phase)


def _keep_capabilities(names: Sequence[str]) -> None:
    try:
        keep(names)
    except OSError as error:
        log.error("cannot have the capabilities %s after a reload: %s", ", ".join(names), error.strerror)


def _run_as_master_starts(options: Options, is_new: bool) -> None:
    """What fails after a reload can be told, but the program before it cannot be had back."""
    try:
        run_hooks(options.hooks, "master-start")
    except HookError as error:
        if is_new:
            raise
        log.error("%s", error)


def _become_the_user(options: Options, is_new: bool) -> None:
    master = options.master
    _run_hooks(options, is_new and os.getuid() == 0, "as-root")
    if not master.master_as_root:
        drop_privileges(master.uid, master.gid, master.add_gid, master.cap)
    if not is_new and os.getuid():
        # What the program before had was handed on, and the configuration may want less of it now.
        let_go_of_exec()
        _keep_capabilities(master.cap)
    if master.no_new_privs:
        forbid_new()
    _run_hooks(options, is_new, "as-user")


def _is_ready(options: Options, heritage: Heritage, daemon: Daemon) -> None:
    _run_hooks(options, not heritage.is_there, "post-app")
    if heritage.is_there and heritage.format != FORMAT:
        os.close(heritage.state)  # up to here the program before this one might have needed it again
    daemon.report(0)


def _end(options: Options, sockets: Sockets, fifo: Fifo, pidfile: str) -> None:
    try:
        run_hooks(options.hooks, "as-user-atexit")
    except HookError as error:
        log.error("%s", error)
    if options.sockets.vacuum:
        vacuum([*sockets.files(), *([pidfile] if pidfile else [])])
        fifo.remove()
    log.info("goodbye")


def _own_nodes(context: Context) -> frozenset[str]:
    offered = {listener.socket.fileno() for pool in context.zerg_pools for listener in pool.listeners}
    return frozenset(
        listener.name
        for listener in context.app_listeners
        if listener.socket.family == socket.AF_UNIX
        and not listener.inherited
        and listener.socket.fileno() not in offered
    )


def _bind(context: Context, sockets: Sockets) -> None:
    options = context.options
    context.shared_listeners = sockets.shared
    context.router_listeners = sockets.bind(options.router.addresses) + sockets.attach(options.router.zerg)
    context.subscription_listeners = sockets.bind_datagrams(options.router.subscription_server)
    context.app_listeners = sockets.bind(options.app.sockets)
    context.app_listeners += sockets.attach(options.app.zerg, options.app.zerg_fallback)
    if problem := _missing_socket(context):
        raise BindError(problem)
    context.zerg_pools = sockets.zerg_pools(context.app_listeners)
    context.own_nodes = _own_nodes(context)
    context.stats_listeners = sockets.bind_plain(options.router.stats)
    context.prometheus_listeners = sockets.bind_plain(options.router.prometheus)
    context.ready = _pipe()
    context.deltas = [_pipe() for _ in range(options.router.processes)]
    if options.router.subscription_server or named_slots(options.router):
        context.failures = _pipe()


def _missing_socket(context: Context) -> str:
    """What is asked for that even the zerg servers did not offer; empty when nothing is."""
    options, there_are = context.options, len(context.app_listeners)
    if options.app.is_served and not there_are:
        return "the zerg servers gave no sockets, and there are none besides"
    if (options.router.use_socket or 0) >= there_are > 0:
        return f"fastrouter-use-socket = {options.router.use_socket}: there are {there_are} sockets"
    announcer = options.announcer
    for subscription in parse_subscriptions(announcer.subscribe_to, announcer.subscribe2):
        if not (subscription.address or subscription.shared) and subscription.socket >= there_are:
            return f"there is no socket number {subscription.socket} to announce, only {there_are}"
    return ""


def _open_access_log(context: Context, heritage: Heritage) -> None:
    """Raises OSError. Where the file cannot be opened any more after a reload, the former one serves."""
    path = context.options.router.log
    if path:
        context.access_log_path = os.path.abspath(path)
        try:
            context.access_log = open_log(path)
        except OSError as error:
            if heritage.access_log < 0:
                raise OSError(error.errno, f"cannot log requests to {path}: {error.strerror}") from None
            context.access_log = heritage.access_log
            return
    if heritage.access_log >= 0:
        os.close(heritage.access_log)


def _take_over(context: Context, heritage: Heritage) -> Former:
    """Make the memory that is shared, with what the program before a reload had in its own."""
    options = context.options
    context.locks = heritage.locks if heritage.locks >= 0 else shared_memory("fastrouter-locks", 0)
    context.caches = make_caches(options, heritage.caches, context.locks)
    context.signed_times = make_signed_times(options, heritage.caches)
    used = {cache.fd for cache in context.caches.values()}
    if context.signed_times is not None:
        used.add(context.signed_times.fd)
    for fd in set(heritage.caches.values()) - used:
        os.close(fd)
    succession = None
    if heritage.is_there:
        context.name, context.announced = heritage.name, heritage.announced
    if heritage.is_there and heritage.format == FORMAT:
        layout = Layout(heritage.slots, heritage.workers, heritage.apps)
        memory = SharedState(layout, heritage.state)
        configured = options.router.configured_nodes
        succession = Succession(context.state, memory, configured, heritage.configured)
        if succession.left_out:
            log.error("%d nodes found no room in the table (subscription-max-nodes)", succession.left_out)
    elif not heritage.is_there:
        context.state.cells[Table.SILENT] = options.announcer.start_unsubscribed
    mercy = 0.0 if heritage.is_brutal else options.master.mercy
    return Former(heritage.children, succession, mercy, is_announced(options))


def _heritage(
    context: Context, sockets: Sockets, handler: LogHandler, fifo: Fifo, fallback: dict[str, int]
) -> Heritage:
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
        log=handler.fd,
        access_log=context.access_log,
        fifos=dict(fifo.descriptors),
        active_fifo=fifo.active,
        state=context.state.fd,
        slots=layout.slots,
        workers=layout.workers,
        apps=layout.apps,
        configured=context.options.router.configured_nodes,
        announced=what_is_announced(context),
        umask=context.umask,
        caches=caches,
        locks=context.locks,
        command=context.command,
        fallback=fallback,
    )


def _pipe() -> Pipe:
    return Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))


def _layout(options: Options) -> Layout:
    slots = options.router.configured_slots + options.subscription.max_nodes
    return Layout(slots, options.router.processes)


def _be_child(is_new: bool, context: Context, child: Child, parent: int) -> NoReturn:
    """What a forked process does until its end."""
    code, role = 1, child.role
    try:
        master = context.options.master
        set_title(f"fastrouter: {child.name}", master, master.procname)
        drop_privileges(*_identity(context.options, role), master.add_gid, master.cap)
        die_with_parent(parent)
        for phase in _PHASES_OF_CHILDREN.get(role.name, ()):
            run_hooks(context.options.hooks, phase)
        if role.runs_user_code:
            context.leave_to_user_code()
        is_first = is_new and not child.was_ready
        code = role.run(context, child.index, partial(_is_child_ready, context, child, is_first))
    except HookError as error:
        log.error("%s: %s", child.name, error)
        code = BOOT_FAILURE
    except BaseException:
        log.exception("%s failed", child.name)
    finally:
        sys.stdout.flush()
        os._exit(code)


_PHASES_OF_CHILDREN = {ROUTER: ["as-gateway"], APP: ["post-fork"]}
"""Hooks before anything else is done, by role."""


def _is_child_ready(context: Context, child: Child, is_first: bool) -> None:
    if child.role.name == APP:
        run_accepting_hooks(context.options.hooks, child.index, is_first)
    _report_ready(context)


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
