"""Who this process runs as."""

import grp
import logging
import os
import pwd

__all__ = ["drop_privileges"]

log = logging.getLogger("fastrouter")


def drop_privileges(user: str, group: str) -> None:
    """Become user and group, given by name or number; an empty one stays. Raises OSError and KeyError."""
    if not user and not group:
        return
    if os.getuid() != 0:
        log.warning("not running as root: uid and gid are left as they are")
        return
    entry = None
    if user:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    if group:
        gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    else:
        gid = entry.pw_gid if entry else os.getgid()
    # The supplementary groups are root's until they are replaced; uWSGI's gateways keep them.
    if entry is not None:
        os.initgroups(entry.pw_name, gid)
    else:
        os.setgroups([gid])
    os.setgid(gid)
    log.info("setgid() to %d", gid)
    if entry is not None:
        os.setuid(entry.pw_uid)
        log.info("setuid() to %d", entry.pw_uid)
