"""Who this process runs as."""

import grp
import logging
import os
import pwd
from collections.abc import Sequence

from master.system.capabilities import keep, survive_setuid

__all__ = ["could_become", "drop_privileges", "identity"]

log = logging.getLogger("fastrouter")


def drop_privileges(
    user: str, group: str, more_groups: Sequence[str] = (), capabilities: Sequence[str] = ()
) -> None:
    """Become user and group, given by name or number; an empty one stays. Raises OSError and KeyError.

    more_groups are had besides; capabilities are kept, and no others.
    """
    if not user and not group:
        return
    if os.getuid() != 0:
        if not could_become(user):
            log.warning("not running as root: uid and gid are left as they are")
        return
    uid, entry = _user(user)
    if group:
        gid = _group(group)
    else:
        gid = entry.pw_gid if entry else os.getgid()
    # The supplementary groups are root's until they are replaced; uWSGI's gateways keep them.
    if entry is not None:
        os.initgroups(entry.pw_name, gid)
    else:
        os.setgroups([gid])
    if more_groups:
        os.setgroups(sorted({*os.getgroups(), *map(_group, more_groups)}))
    os.setgid(gid)
    log.info("setgid() to %d", gid)
    if uid is not None:
        if capabilities:
            survive_setuid()
        os.setuid(uid)
        log.info("setuid() to %d", uid)
        if capabilities:
            keep(capabilities)


def could_become(user: str) -> bool:
    """Whether this process may become user, or is that already."""
    return not user or os.getuid() in (0, _user(user)[0])


def identity(user: str, group: str) -> tuple[int, int]:
    """Numbers of a user and a group as chown(2) takes them: -1 for none."""
    uid, entry = _user(user)
    gid = _group(group) if group else entry.pw_gid if entry else -1
    return (-1 if uid is None else uid), gid


def _group(group: str) -> int:
    return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid


def _user(user: str) -> tuple[int | None, pwd.struct_passwd | None]:
    """Number and entry of a user; a number need not have an entry."""
    if not user:
        return None, None
    if not user.isdecimal():
        entry = pwd.getpwnam(user)
        return entry.pw_uid, entry
    try:
        return int(user), pwd.getpwuid(int(user))
    except KeyError:
        return int(user), None
