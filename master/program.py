"""The program from a checked configuration on: sockets, memory, privileges, children."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from fastrouter.memory.shared import AppState
from fastrouter.options import Options
from master.banner import announce_start
from master.caches import fill_caches
from master.child import Child, Kind, Role
from master.commands.live import publish
from master.control.fifo import Fifo
from master.control.hooks import HookError, run_accepting_hooks, run_hooks
from master.gateways import bind_all, make_gateways, open_access_logs
from master.logs import LogHandler, set_up_logging
from master.reloading.dry_run import dry_run
from master.reloading.former_program import fallback_of
from master.reloading.handover import Handover
from master.reloading.predecessors import Predecessors
from master.reloading.transfer import close_unused, hand_over, take_over
from master.sockets import Sockets
from master.supervisor import PID, Supervisor
from master.surroundings import Surroundings
from master.system.capabilities import forbid_new, keep, let_go_of_exec
from master.system.daemon import Daemon
from master.system.pidfile import vacuum, write_pidfile, write_pidfile_again
from master.system.privileges import drop_privileges, identity
from master.system.systemd import activated_sockets
from workers.context import Context
from workers.process import BOOT_FAILURE, die_with_parent, set_title

__all__ = ["run"]

log = logging.getLogger("fastrouter")


def run(options: Options, handover: Handover) -> int:
    """Run until stopped; handover is what the program before a reload has left. Returns the exit code.

    Raises BindError, CacheError, HookError and OSError when it cannot start.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO)  # until it is known where to
    # Relative to where the program was started; all else is relative to where it goes.
    master = options.master
    log_path, pidfile = _log_path(options), os.path.abspath(master.pidfile) if master.pidfile else ""
    context, sockets = _bound(options, handover)
    if handover.dry_run:
        sockets.remove_files()
        return dry_run(options, handover, log_path)
    sockets.close_former()
    former = take_over(context, handover)
    daemon = Daemon()
    if master.daemonize and not handover.is_there:
        daemon.detach()
    handler = set_up_logging(options.log, log_path, handover.log, not handover.is_there)
    return _supervise(context, sockets, handover, former, handler, pidfile, daemon)


def _bound(options: Options, handover: Handover) -> tuple[Context, Sockets]:
    """Bind everything, in the directory that the configuration says. Raises BindError and HookError."""
    given = activated_sockets(os.environ)
    started_in, environment = os.getcwd(), dict(os.environ)
    is_new = not handover.is_there
    umask = _set_environment(options, handover)
    _run_hooks(options, is_new, "asap")
    taken = {*handover.given, *(fd for fds in given.values() for fd in fds)}
    is_committed = not is_new and not handover.dry_run
    sockets = Sockets(options, handover.sockets or given, taken, is_committed)
    sockets.bind_shared()
    _run_hooks(options, is_new, "pre-jail", "in-jail", "post-jail")
    if options.master.chdir:
        os.chdir(options.master.chdir)
    context = Context(
        options,
        apps=AppState(options.app.processes * options.app.threads),
        started_in=started_in,
        command=handover.command or sys.orig_argv[1:],
        environment=environment,
        umask=umask,
        more_workers=handover.more_workers,
    )
    make_gateways(context, handover.more_workers)
    bind_all(context, sockets)
    return context, sockets


def _supervise(
    context: Context,
    sockets: Sockets,
    handover: Handover,
    former: Predecessors,
    handler: LogHandler,
    pidfile: str,
    daemon: Daemon,
) -> int:
    """Fork, and see to the children until the end. Returns the exit code."""
    options, master, is_new = context.options, context.options.master, not handover.is_there
    fallback = fallback_of(options)
    open_access_logs(context, handover)
    announce_start(context)
    fill_caches(context.caches, options)
    owner = identity(master.uid, master.gid)
    fifo = Fifo(master.fifo, owner, None if is_new else handover.fifos, handover.active_fifo)
    if is_new:
        write_pidfile(pidfile)
    _become_the_user(options, is_new)
    live = publish(context)
    set_title("fastrouter-master " + " ".join(options.files), master, master.procname_master)
    _run_hooks(options, is_new, "pre-app")
    _run_as_master_starts(options, is_new)
    surroundings = Surroundings(
        on_ready=partial(_is_ready, context, handover, daemon),
        handover=lambda: hand_over(context, sockets, handler, fifo, fallback),
        fallback=handover.fallback,
        private=lambda: [live, *fallback.values(), *handover.fallback.values()],
        fifo=fifo,
        log=handler,
        write_pidfile=lambda: write_pidfile_again(pidfile),
    )
    supervisor = Supervisor(context, partial(_be_child, is_new), former, surroundings)
    if handover.is_asked_again:
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


def _set_environment(options: Options, handover: Handover) -> int:
    """What the children are to have. Returns the mask of files that the program was started with."""
    for assignment in options.master.env:
        name, _, value = assignment.partition("=")
        os.environ[name] = value
    return _set_umask(handover.umask, options.master.umask)


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


def _is_ready(context: Context, handover: Handover, daemon: Daemon) -> None:
    _run_hooks(context.options, not handover.is_there, "post-app")
    close_unused(context, handover)
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


def _be_child(is_new: bool, context: Context, child: Child, parent: int) -> NoReturn:
    """What a forked process does until its end."""
    code, role = 1, child.role
    try:
        master = context.options.master
        set_title(f"fastrouter: {child.name}", master, master.procname)
        drop_privileges(*_identity(context.options, role), master.add_gid, master.cap)
        die_with_parent(parent)
        for phase in _PHASES_OF_CHILDREN.get(role.kind, ()):
            run_hooks(context.options.hooks, phase)
        if role.runs_user_code:
            context.leave_to_user_code()
        is_first = is_new and not child.was_ready
        code = role.run(child.index, partial(_is_child_ready, context, child, is_first))
    except HookError as error:
        log.error("%s: %s", child.name, error)
        code = BOOT_FAILURE
    except BaseException:
        log.exception("%s failed", child.name)
    finally:
        sys.stdout.flush()
        os._exit(code)


_PHASES_OF_CHILDREN = {Kind.GATEWAY: ["as-gateway"], Kind.APP: ["post-fork"]}
"""Hooks before anything else is done."""


def _is_child_ready(context: Context, child: Child, is_first: bool) -> None:
    if child.role.kind is Kind.APP:
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
