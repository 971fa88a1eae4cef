"""Those who announce nodes, and those who pretend to."""

import os
import socket

import pytest
from harness import LIMIT, Router, send_announcement, subscription_router, wait_until

from fastrouter.wire.announcement import Announcement


@pytest.fixture
def listener(tmp_path):
    """A datagram socket of somebody else's, the log's for instance."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify.sock"))
        sock.settimeout(LIMIT)
        yield sock


ACK = "[subscription ack] {} => new node: {}"


def test_nobody_has_the_server_write_to_sockets_of_others(listener, node):
    """Not over UDP, where nobody knows who asks for it."""
    with subscription_router("--log-level=debug") as router:
        router.announce("foo.com", node.address, notify=listener.getsockname())
        router.wait_for("no acknowledgement to .*neither its sender's own nor allowed")
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.recv(1000)


def test_the_operator_says_where_it_writes(tmp_path, listener, node):
    path = listener.getsockname()
    with subscription_router(f"--subscription-notify-allow={tmp_path}/*.sock", "--log-level=debug") as router:
        router.announce("foo.com", node.address, notify=path)
        assert listener.recv(1000).decode() == ACK.format("foo.com", node.address)
        os.symlink(path, tmp_path / "link.sock")
        for number, other in enumerate(
            (f"{tmp_path}/link.sock", f"{tmp_path}/../{tmp_path.name}/notify.sock")
        ):
            router.announce(f"{number}.com", node.address, notify=other)
            router.wait_for(f"no acknowledgement to {other}")
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.recv(1000)


@pytest.mark.root
def test_senders_hear_of_it_on_sockets_of_their_own(public_path, node):
    """The kernel says who they are."""
    options = (f"--fastrouter-subscription-server={public_path}/subs.sock", "--subscriptions-use-credentials")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(public_path / "notify.sock"))
    listener.settimeout(LIMIT)
    with listener, Router("--fastrouter=127.0.0.1:0", *options, "--log-level=debug") as router:
        os.chown(listener.getsockname(), 65534, 65534)
        send_announcement(
            router.server, Announcement("root.com", node.address, notify=listener.getsockname())
        )
        assert listener.recv(1000).decode() == ACK.format("root.com", node.address)
        os.chown(listener.getsockname(), 1234, 1234)
        os.chmod(router.server, 0o666)
        announced_by(
            65534, router.server, Announcement("nobody.com", node.address, notify=listener.getsockname())
        )
        router.wait_for("no acknowledgement to .*neither its sender's own nor allowed")


def announced_by(uid, server, announcement):
    pid = os.fork()
    if not pid:
        os.setuid(uid)
        send_announcement(server, announcement)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(
    "spelling",
    [
        "[::ffff:127.0.0.1]:{port}",
        "[0:0:0:0:0:ffff:7f00:1]:{port}",
        "[::ffff:7f00:1]:{port}",
        "0:{port}",
        ":{port}",
    ],
)
def test_the_router_itself_is_no_node_however_it_is_spelled(spelling):
    with subscription_router() as router:
        own = spelling.format(port=router.address.rpartition(":")[2])
        send_announcement(router.server, Announcement("loop.com", own))
        router.wait_for("is this router itself")


def test_nor_is_its_unix_socket(tmp_path):
    (tmp_path / "dir").mkdir()
    path = tmp_path / "dir" / "fr.sock"
    with Router(f"--fastrouter={path}", "--fastrouter-subscription-server=127.0.0.1:0") as router:
        os.symlink(path, tmp_path / "link")
        os.symlink(tmp_path / "dir", tmp_path / "other")
        os.link(path, tmp_path / "hard")
        spellings = (
            path,
            tmp_path / "dir/./fr.sock",
            tmp_path / "link",
            tmp_path / "other/fr.sock",
            tmp_path / "hard",
        )
        for number, own in enumerate(spellings, 1):
            send_announcement(router.server, Announcement("loop.com", str(own)))
            router.wait_for("is this router itself", number)
        assert wait_until(lambda: "new node" not in router.output, "no node")
