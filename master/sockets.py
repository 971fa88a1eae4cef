"""Binding every socket, before anything is forked and while privileges last."""

import errno
import grp
import ipaddress
import logging
import os
import pwd
import re
import socket
import stat
import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import psutil

from fastrouter.address import Binding, Inherited, Shared, Tcp, Unix, parse_binding, show
from fastrouter.files import open_entry
from fastrouter.options import Options, SocketOptions
from fastrouter.wire import zerg
from workers.context import Listener, ZergPool

__all__ = ["BindError", "Sockets"]

log = logging.getLogger("fastrouter")

_ANNOUNCEMENT_QUEUE = 4 << 20
"""Bytes of datagrams to hold while the subscription server is busy or being replaced."""


class BindError(Exception):
    """A socket cannot be had; the message says which and why."""


class Sockets:
    """All sockets of one configuration, and the files that some of them left."""

    def __init__(
        self,
        options: Options,
        former: Mapping[str, Sequence[int]] | None = None,
        given: Collection[int] = (),
        is_committed: bool = False,
    ) -> None:
        """former are the descriptors of sockets from before a reload, as bound has them; given, of those, are
        somebody else's. is_committed says that there is no way back to what was there before."""
        self.given = set(given)
        self._is_committed = is_committed
        self._options = options.sockets
        self._former = {name: list(fds) for name, fds in (former or {}).items()}
        self.bound: dict[str, list[int]] = {}
        """Descriptors of all sockets, by kind and configured address."""
        self._credentials = options.subscription.credentials
        self._files: list[tuple[str, int]] = []
        """Path and inode of the UNIX sockets made here; the next one of those from before a reload."""
        self._kept_files: list[tuple[str, int]] = []
        self.shared: list[Listener] = []

    def bind_shared(self) -> None:
        """The shared sockets, which =N refers to. Raises BindError."""
        for text in self._options.shared_socket:
            self.shared.append(self._listen(text, deferred=True))
        for text in self._options.undeferred_shared_socket:
            self.shared.append(self._listen(text, deferred=False))

    def bind(self, addresses: Iterable[str], deferred: bool = True) -> list[Listener]:
        """Listening sockets for addresses. Raises BindError.

        deferred: connections are accepted once they carry data (TCP_DEFER_ACCEPT).
        """
        return [self._listen(text, deferred) for text in addresses]

    def bind_plain(self, *addresses: str) -> list[Listener]:
        """Listening sockets for connections that may carry nothing; none for empty addresses."""
        return self.bind(filter(None, addresses), deferred=False)

    def bind_datagrams(self, addresses: Iterable[str]) -> list[Listener]:
        """Datagram sockets for announcements. Raises BindError."""
        return [self._bound("datagram", text, self._datagrams) for text in addresses]

    def attach(self, addresses: Iterable[str], may_fail: bool = False) -> list[Listener]:
        """The sockets that zerg servers offer; of those before a reload, the same as then.

        Raises BindError for a server that offers none, unless it may fail.
        """
        listeners = []
        for text in addresses:
            name = f"zerg {text}"
            try:
                former = [socket.socket(fileno=fd) for fd in self._former.pop(name, [])]
                given = former or zerg.attach(text, _SHORTLY if self._is_committed else _PATIENTLY)
            except zerg.ZergError as error:
                if not may_fail and not self._is_committed:
                    raise BindError(str(error)) from None
                log.warning("%s; going on without", error)
                continue
            for sock in given:
                sock.setblocking(False)
                listeners.append(Listener(show(sock.getsockname()), sock, inherited=True))
            self.bound[name] = [sock.fileno() for sock in given]
            self.given.update(self.bound[name])
        return listeners

    def zerg_pools(self, app_listeners: Iterable[Listener]) -> list[ZergPool]:
        """What is to be handed to whoever connects. Raises BindError."""
        pools = []
        if self._options.zerg_server:
            named = {listener.name: listener for listener in app_listeners}
            pools.append((self._options.zerg_server, list(named.values())))
        for text in self._options.zergpool:
            server, _, addresses = text.partition(":")
            pools.append((server, self.bind(addresses.split(","))))
        for server, listeners in pools:
            if len(listeners) > zerg.MOST:
                raise BindError(f"{server}: {len(listeners)} sockets, one message takes {zerg.MOST}")
        return [ZergPool(self._listen(server, deferred=False), listeners) for server, listeners in pools]

    def close_former(self) -> None:
        """What is not configured any more is bound no longer."""
        for fds in self._former.values():
            for fd in fds:
                sock = socket.socket(fileno=fd)
                path = sock.getsockname()
                if self._options.vacuum and sock.family == socket.AF_UNIX and fd not in self.given:
                    _unlink_socket(path)
                sock.close()

    def remove_files(self) -> None:
        """It was only to see whether they can be bound."""
        for path, _ in self._files:
            os.unlink(path)

    def files(self) -> list[str]:
        """The UNIX sockets made here, but for those that somebody has put another in the place of."""
        files = [*self._files, *self._kept_files]
        return [path for path, inode in files if os.path.exists(path) and os.stat(path).st_ino == inode]

    def _listen(self, text: str, deferred: bool) -> Listener:
        binding = parse_binding(text)
        if isinstance(binding, Shared):
            return self.shared[binding.number]
        return self._bound("stream", text, lambda text: self._stream(binding, deferred), deferred)

    def _bound(
        self, kind: str, text: str, make: Callable[[str], Listener], deferred: bool = False
    ) -> Listener:
        """The socket from before a reload, or a manager's, whose queue goes on, or a new one."""
        name = f"{kind} {text}"
        former = self._former.get(name) or self._former.get(f"{kind} {_in_full(text)}")
        again = self._again(kind, text, former.pop(0), deferred) if former else None
        listener = again or _name_errors(text, make)
        self.bound.setdefault(name, []).append(listener.socket.fileno())
        return listener

    def _again(self, kind: str, text: str, fd: int, deferred: bool) -> Listener | None:
        """A socket that is bound already; None when nobody can reach it any more."""
        sock = socket.socket(fileno=fd)
        is_given = fd in self.given or text.startswith("fd://")
        listener = Listener(show(sock.getsockname()), sock, is_given)
        if sock.family == socket.AF_UNIX and not is_given and not listener.name.startswith("@"):
            path = os.path.abspath(listener.name)
            if not os.path.exists(path):
                sock.close()
                return None
            self._kept_files.append((path, os.stat(path).st_ino))
            if kind == "stream":
                _set_access(path, self._options)
        sock.setblocking(False)
        if kind == "datagram":
            self._prepare_datagrams(sock)
            return listener
        sock.listen(self._options.listen)
        if sock.family != socket.AF_UNIX and not is_given:
            self._defer(sock, deferred)
        return listener

    def _defer(self, sock: socket.socket, deferred: bool) -> None:
        """Have connections accepted when they carry data, or at once."""
        wait = self._options.socket_timeout if deferred and not self._options.no_defer_accept else 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, wait)

    def _stream(self, binding: Binding, deferred: bool) -> Listener:
        if isinstance(binding, Inherited):
            sock = _inherited(binding.fd)
        elif isinstance(binding, Tcp):
            sock = self._tcp(binding, deferred)
        else:
            assert isinstance(binding, Unix)
            if self._options.abstract_socket:
                binding = Unix(binding.path, abstract=True)
            sock = self._unix(binding, socket.SOCK_STREAM)
            sock.listen(self._options.listen)
        sock.setblocking(False)
        return Listener(show(sock.getsockname()), sock, isinstance(binding, Inherited))

    def _tcp(self, binding: Tcp, deferred: bool) -> socket.socket:
        family, address = _resolve(binding)
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._options.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if self._options.so_keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._options.freebind:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        self._defer(sock, deferred)
        sock.bind(address)
        sock.listen(self._options.listen)
        return sock

    def _unix(self, binding: Unix, kind: int) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, kind)
        if binding.abstract:
            sock.bind(binding.sockaddr)
            return sock
        _remove_stale(binding.path, kind)
        sock.bind(binding.path)
        path = os.path.abspath(binding.path)
        self._files.append((path, os.stat(path).st_ino))
        if kind == socket.SOCK_STREAM:
            _set_access(binding.path, self._options)
        return sock

    def _datagrams(self, text: str) -> Listener:
        binding = parse_binding(text)
        if isinstance(binding, Unix):
            sock = self._unix(binding, socket.SOCK_DGRAM)
        else:
            assert isinstance(binding, Tcp)
            family, address = _resolve(binding)
            sock = socket.socket(family, socket.SOCK_DGRAM)
            _prepare_udp(sock, address[0])
            sock.bind(address)
        self._prepare_datagrams(sock)
        sock.setblocking(False)
        return Listener(show(sock.getsockname()), sock)

    def _prepare_datagrams(self, sock: socket.socket) -> None:
        _enlarge_queue(sock)
        if sock.family == socket.AF_UNIX and self._credentials:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)


def _unlink_socket(path: str | bytes) -> None:
    try:
        if path and isinstance(path, str) and stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    except OSError as error:
        log.warning("vacuum: cannot remove %s: %s", path, error.strerror)


def _in_full(text: str) -> str:
    """An address as a bound socket has it."""
    binding = parse_binding(text)
    if isinstance(binding, Tcp):
        return show((binding.host or "0.0.0.0", binding.port))
    return os.path.abspath(binding.path) if isinstance(binding, Unix) and not binding.abstract else text


_PATIENTLY, _SHORTLY = 30, 5
"""Seconds for a zerg server to answer: uWSGI's, and when everybody waits."""

_IP_FREEBIND = 15
_SO_RCVBUFFORCE = 33


_PRIVILEGED = (
    "; who is not root may have a low port by one of these ways: start as root and set uid, have systemd"
    " bind it (socket activation), or lower net.ipv4.ip_unprivileged_port_start by sysctl"
)


def _name_errors(text: str, make: Callable[[str], Listener]) -> Listener:
    """Turn what goes wrong into a BindError that names the address."""
    try:
        return make(text)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            reason += "; another program, or another instance of this one, has it"
        elif error.errno == errno.EACCES and re.search(r":\d+$", text):
            reason += _PRIVILEGED
        raise BindError(f"cannot bind {text}: {reason}") from None


def _resolve(binding: Tcp) -> tuple[int, tuple[str, int]]:
    """Family and numeric address. An empty host is all IPv4 addresses, as in uWSGI."""
    host = _of_interface(binding.host) if binding.is_pattern else binding.host or "0.0.0.0"
    found = socket.getaddrinfo(host, binding.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, (str(address[0]), binding.port)


def _of_interface(pattern: str) -> str:
    """The first address of any interface that begins as pattern says, ``192.*`` for instance."""
    wanted = pattern.removesuffix("*")
    for addresses in psutil.net_if_addrs().values():
        for entry in addresses:
            if entry.family == socket.AF_INET and entry.address.startswith(wanted):
                return str(entry.address)
    raise OSError(errno.EADDRNOTAVAIL, f"no interface has an address that begins with {wanted}")


def _inherited(fd: int) -> socket.socket:
    # Standard input, which supervisord hands a socket as, is another thing in every program that is started.
    sock = socket.socket(fileno=os.dup(fd) if fd <= 2 else fd)
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise OSError(errno.EINVAL, f"descriptor {fd} is not a listening socket")
    return sock


def _remove_stale(path: str, kind: int) -> None:
    """Make room for a UNIX socket. One that somebody listens on stays, and so does what is no socket."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "there is a file of that name, and it is not a socket")
    with socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK) as probe:
        error = probe.connect_ex(path)
    if error == errno.ECONNREFUSED:
        os.unlink(path)
    elif error != errno.ENOENT:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _set_access(path: str, options: SocketOptions) -> None:
    if options.chmod_socket is None and not options.chown_socket:
        return
    fd = open_entry(path, stat.S_IFSOCK)
    try:
        if options.chmod_socket is not None:
            os.chmod(f"/proc/self/fd/{fd}", options.chmod_socket)
        if options.chown_socket:
            user, _, group = options.chown_socket.partition(":")
            uid = (int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid) if user else -1
            gid = (int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid) if group else -1
            os.chown(f"/proc/self/fd/{fd}", uid, gid)
    finally:
        os.close(fd)


def _enlarge_queue(sock: socket.socket) -> None:
    """Only root may have more than net.core.rmem_max; others get as much as that."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ANNOUNCEMENT_QUEUE)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ANNOUNCEMENT_QUEUE)


def _prepare_udp(sock: socket.socket, host: str) -> None:
    """Multicast groups are joined, broadcasts allowed.

    No SO_REUSEADDR otherwise: with it, a second program would take all announcements and nobody would know.
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.is_multicast and address.version == 4:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        member = struct.pack("=4sI", address.packed, socket.INADDR_ANY)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    elif host == "255.255.255.255":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
