"""Every snippet of uWSGI's fastrouter documentation, as printed but for the addresses.

A command line is written here as it is there; ``uwsgi`` becomes ``fastrouter-master``, or stays uWSGI where it
starts an instance, and the addresses are replaced by free ones. The blog's deployment is in test_blog.py.
"""

import shlex

import pytest
from differential.stage import NamedNode
from harness import MASTER, FakeNode, Program, Router, connect, free_port, read_all, request, wait_until

from fastrouter.client import request_packet


@pytest.fixture
def moved(tmp_path):
    """Where the addresses of the documentation are moved to."""
    (tmp_path / "sockets").mkdir()
    replaced = {
        "127.0.0.1:3017": "127.0.0.1:0",
        "192.168.0.100:7000": "127.0.0.1:0",
        "192.168.0.100:4040": "127.0.0.1:0",
        "127.0.0.1:3031": "127.0.0.1:0",
        "/tmp/": f"{tmp_path}/",
        "@foobar": f"@foobar{tmp_path}",
    }

    def move(text, **more):
        for old, new in {**replaced, **more}.items():
            text = text.replace(old, new)
        return text

    return move


def router(command, place, move):
    """The command line of a router."""
    words = shlex.split(move(command))
    assert words[0] == "uwsgi"
    return Router(*words[1:], cwd=place)


def served_by(address, key, path="/"):
    return request(address, f"http://{key}{path}").rpartition(b"\r\n\r\n")[2].decode()


def test_the_most_useless_setup(tmp_path, moved):
    command = "uwsgi --fastrouter 127.0.0.1:3017 --fastrouter /tmp/uwsgi.sock --fastrouter @foobar"
    with router(command, tmp_path, moved) as program:
        program.wait_for("no way to find a node")
        for address in (program.address, f"{tmp_path}/uwsgi.sock", f"\0foobar{tmp_path}\0"):
            assert request(address) == b""


@pytest.mark.parametrize("base", ["/tmp/sockets", "/tmp/sockets/"])
def test_use_base(tmp_path, moved, base):
    with (
        FakeNode(path=f"{tmp_path}/sockets/example.com") as node,
        router(f"uwsgi --fastrouter 127.0.0.1:3017 --fastrouter-use-base {base}", tmp_path, moved) as program,
    ):
        assert served_by(program.address, "example.com") == node.address


@pytest.mark.parametrize("option", ["--fastrouter-use-base", "--fastrouter-use-pattern"])
def test_use_pattern(tmp_path, moved, option):
    (tmp_path / "sockets" / "example.com").mkdir()
    command = f"uwsgi --fastrouter 127.0.0.1:3017 {option} /tmp/sockets/%s/uwsgi.sock"
    with (
        FakeNode(path=f"{tmp_path}/sockets/example.com/uwsgi.sock") as node,
        router(command, tmp_path, moved) as program,
    ):
        assert served_by(program.address, "example.com") == node.address


def test_use_cache(tmp_path, moved, node):
    (tmp_path / "foobar.py").write_text(
        """
import uwsgi
# Requests for example.com on port 8000 will go to 127.0.0.1:4040
uwsgi.cache_set("example.com:8000", "127.0.0.1:4040")
# Requests for unbit.it will go to 127.0.0.1:4040 with the modifier1 set to 5 (perl/PSGI)
uwsgi.cache_set("unbit.it", "127.0.0.1:4040,5")
""".replace("127.0.0.1:4040", node.address)
    )
    command = "uwsgi --fastrouter 127.0.0.1:3017 --fastrouter-use-cache --cache 100 --file foobar.py"
    with router(command, tmp_path, moved) as program:
        assert served_by(program.address, "example.com:8000") == node.address
        assert served_by(program.address, "unbit.it") == node.address
        assert [packet[0] for packet in node.packets] == [0, 5]


APP = """
def application(environ, start_response):
    start_response('200 OK', [])
    return [environ['HTTP_HOST'].encode()]
"""


@pytest.fixture(params=["uwsgi", "fastrouter-master"])
def instance(request, tmp_path):
    """Starts an instance by a command line of the documentation: uWSGI's, and this program's own."""
    (tmp_path / "app.py").write_text(APP)
    program = request.getfixturevalue("uwsgi") if request.param == "uwsgi" else MASTER

    def start(command, server):
        words = shlex.split(command.replace("192.168.0.100:7000", server))
        return Program(program, *words[1:], "--wsgi-file", tmp_path / "app.py", cwd=tmp_path)

    return start


def test_subscriptions(tmp_path, moved, instance):
    first, second = (free_port("127.0.0.1").rpartition(":")[2] for _ in range(2))
    command = "uwsgi --fastrouter 127.0.0.1:3017 --fastrouter-subscription-server 192.168.0.100:7000"
    with router(command, tmp_path, moved) as program:
        one = "uwsgi --socket :3031 -M --subscribe-to 192.168.0.100:7000:example.com"
        two = (
            "uwsgi --socket :3032 -M --subscribe-to 192.168.0.100:7000:unbit.it,5 "
            "--subscribe-to 192.168.0.100:7000:uwsgi.it"
        )
        with (
            instance(one.replace("3031", first), program.server),
            instance(two.replace("3032", second), program.server),
        ):
            for key in ("example.com", "unbit.it", "uwsgi.it"):
                program.wait_for(f"{key} => new node: .*:({first}|{second})$")
            assert served_by(program.address, "example.com") == "example.com"
            assert served_by(program.address, "uwsgi.it") == "uwsgi.it"
            # These instances have no plugin for modifier1 5: that it gets there is all there is to see.
            assert served_by(program.address, "unbit.it") != "unbit.it"


def test_a_random_port(tmp_path, moved, instance):
    command = "uwsgi --fastrouter 127.0.0.1:3017 --fastrouter-subscription-server 192.168.0.100:7000"
    with router(command, tmp_path, moved) as program:
        line = "uwsgi --socket 127.0.0.1:0 -M --subscribe-to 192.168.0.100:7000:example.com"
        with instance(line, program.server):
            assert int(program.wait_for(r"example.com => new node: 127.0.0.1:(\d+)$")[1]) > 1023
            assert served_by(program.address, "example.com") == "example.com"


def test_a_mapping_file(tmp_path, moved, instance):
    (tmp_path / "mappings.txt").write_text("unbit.it\nunbit.it:8000,5\nuwsgi.it\nprojects.unbit.it\n")
    port = free_port("127.0.0.1").rpartition(":")[2]
    command = "uwsgi --fastrouter 127.0.0.1:3017 --fastrouter-subscription-server 192.168.0.100:7000"
    with router(command, tmp_path, moved) as program:
        line = f"uwsgi --socket :{port} -M --subscribe-to 192.168.0.100:7000:@mappings.txt"
        with instance(line, program.server):
            for key in ("unbit.it", "unbit.it:8000", "uwsgi.it", "projects.unbit.it"):
                program.wait_for(f"{key} => new node: .*:{port}$")
            for key in ("unbit.it", "uwsgi.it", "projects.unbit.it"):
                assert served_by(program.address, key) == key


def test_several_instances_share_and_are_monitored(tmp_path, moved, instance):
    command = "uwsgi --fastrouter 127.0.0.1:3017 --fastrouter-subscription-server 192.168.0.100:7000"
    with router(command, tmp_path, moved) as program:
        line = "uwsgi --socket 127.0.0.1:0 -M --subscribe-to 192.168.0.100:7000:example.com"
        with instance(line, program.server):
            program.wait_for("example.com => new node", count=1)
            with instance(line, program.server) as second:
                program.wait_for("example.com => new node", count=2)
                assert all(served_by(program.address, "example.com") for _ in range(8))
                second.stop(2)
            program.wait_for("example.com => .* has left")
            assert all(served_by(program.address, "example.com") for _ in range(8))


def test_code_string(tmp_path, moved, node):
    (tmp_path / "mapper.py").write_text(
        "def get(key):\n    return '127.0.0.1:3031'\n".replace("127.0.0.1:3031", node.address)
    )
    command = "uwsgi --fastrouter 127.0.0.1:3017 --fastrouter-use-code-string 0:mapper.py:get"
    with router(command, tmp_path, moved) as program:
        assert served_by(program.address, "example.com") == node.address


def test_code_string_with_round_robin(tmp_path, moved):
    addresses = (
        "127.0.0.1:3031",
        "192.168.0.100:3032",
        "127.0.0.1:3035",
        "192.168.0.100:3035",
        "192.168.0.1:1717",
    )
    script = """
domains = {}
domains['example.com'] = {'nodes': ('127.0.0.1:3031', '192.168.0.100:3032'), 'node': 0}
domains['unbit.it'] = {'nodes': ('127.0.0.1:3035,5', '192.168.0.100:3035,5'), 'node': 0}
DEFAULT_NODE = '192.168.0.1:1717'
def get(key):
    if key not in domains:
        return DEFAULT_NODE
    # get the node to forward requests to
    nodes = domains[key]['nodes']
    current_node = domains[key]['node']
    value = nodes[current_node]
    # round robin :P
    next_node = current_node + 1
    if next_node >= len(nodes):
        next_node = 0
    domains[key]['node'] = next_node
    return value
"""
    nodes = [NamedNode(str(number)) for number in range(len(addresses))]
    for address, node in zip(addresses, nodes, strict=True):
        script = script.replace(address, node.address)
    (tmp_path / "megamapper.py").write_text(script)
    command = "uwsgi --fastrouter 127.0.0.1:3017 --fastrouter-use-code-string 0:megamapper.py:get"
    try:
        with router(command, tmp_path, moved) as program:
            assert [served_by(program.address, "example.com") for _ in range(3)] == [
                "0 0/0",
                "1 0/0",
                "0 0/0",
            ]
            assert [served_by(program.address, "unbit.it") for _ in range(3)] == ["2 5/0", "3 5/0", "2 5/0"]
            assert served_by(program.address, "other.com") == "4 0/0"
    finally:
        for node in nodes:
            node.close()


SHARED = """
[uwsgi]
;create a shared socket (the webserver will connect to it)
shared-socket = 127.0.0.1:3031
; bind the fastrouter to the shared socket
fastrouter = =0
; bind an instance to the same socket
socket = =0
; having a master is always a good thing...
master = true
; our subscription server
fastrouter-subscription-server = 192.168.0.100:4040
; our app
wsgi-file = /var/www/myheavyapp.wsgi
; a bunch of processes
processes = 4
; and put the fastrouter in cheap mode
fastrouter-cheap = true
"""


def test_cheap_mode_and_shared_sockets(tmp_path, moved, node):
    (tmp_path / "myheavyapp.wsgi").write_text(APP)
    (tmp_path / "router.ini").write_text(moved(SHARED, **{"/var/www": str(tmp_path)}))
    with Router("--ini", "router.ini", cwd=tmp_path) as program:
        router_pids = program.pids("app worker", 4)
        assert len(router_pids) == 4
        assert all(served_by(program.address, "foo.com") == "foo.com" for _ in range(10)), "the app only"
        program.announce("foo.com", node.address)
        program.wait_for("leaving cheap mode")
        seen = set()
        wait_until(
            lambda: seen.add(served_by(program.address, "foo.com")) or len(seen) == 2, "both to answer"
        )
        assert seen == {"foo.com", node.address}
        program.unsubscribe("foo.com", node.address)
        program.wait_for("Going cheap")
        assert all(served_by(program.address, "foo.com") == "foo.com" for _ in range(10)), "the app only"


POST_BUFFERING = """
[uwsgi]
fastrouter = 127.0.0.1:3031
fastrouter-to = /var/run/app.socket
fastrouter-post-buffering = 8192
"""


def test_post_buffering(tmp_path, moved):
    (tmp_path / "router.ini").write_text(moved(POST_BUFFERING, **{"/var/run": str(tmp_path)}))
    with (
        FakeNode(path=f"{tmp_path}/app.socket") as node,
        Router("--ini", "router.ini", cwd=tmp_path) as program,
    ):
        for size in (8192, 8193):
            with connect(program.address) as sock:
                body = b"x" * size
                sock.sendall(request_packet("POST", "http://foo.com/", body) + body[:-1])
                assert not node.connections or node.connections == len(node.bodies)
                sock.sendall(body[-1:])
                assert read_all(sock).endswith(node.address.encode())
        assert [len(body) for body in node.bodies] == [8192, 8193]


def test_the_notes(tmp_path, moved, node):
    command = (
        f"uwsgi --fastrouter 127.0.0.1:3017 --fastrouter-to {node.address} "
        "--fastrouter-events 2000 --fastrouter-timeout 30 --no-fd-passing"
    )
    with router(command, tmp_path, moved) as program:
        assert served_by(program.address, "foo.com") == node.address
