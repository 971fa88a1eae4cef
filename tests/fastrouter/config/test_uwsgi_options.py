"""Options of uWSGI that are none here: every one is known, with a reason that helps."""

import re
import subprocess

import pytest

from fastrouter.config.dialect.pairs import ConfigError
from fastrouter.config.resolve import load, syntax
from fastrouter.config.uwsgi_options import uwsgi_letters, uwsgi_options, verdict
from fastrouter.options import all_options


def problems(*arguments):
    with pytest.raises(ConfigError) as caught:
        load(arguments, {})
    return "\n".join(caught.value.problems)


def test_every_name_that_the_real_one_lists_is_known(uwsgi):
    text = subprocess.run([uwsgi, "--help"], capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^\s+(?:-\w\|)?--([\w-]+)", text, re.MULTILINE))
    letters = set(re.findall(r"^\s+-(\w)\|", text, re.MULTILINE))
    assert len(names) > 900
    assert names - syntax().arguments.keys() == set()
    assert letters - syntax().letters.keys() == set()


@pytest.mark.parametrize(
    "name",
    [
        "psgi", "php-docroot", "rack", "cgi", "lua", "jvm-main-class", "v8-load", "mono-app", "pypy-wsgi", "xslt-docroot",
        "route-run", "final-route", "error-route-status", "response-route", "webdav-mount", "rados-mount", "geoip-city",
        "zeromq-socket", "pty-socket", "forkptyrouter", "tuntap-router", "sslrouter2", "ldap", "pam", "jail", "curl-cron",
    ],
)  # fmt: skip
def test_plugins_and_parts_that_are_seldom_built_are_known_and_refused(name):
    assert verdict(name).refused


def test_every_one_has_a_reason():
    assert all(verdict(name).reason for name in uwsgi_options())
    assert syntax().arguments.keys() >= set(uwsgi_letters().values())


def test_no_option_is_both_ours_and_foreign():
    assert not all_options().keys() & uwsgi_options().keys()
    assert len(uwsgi_options()) > 1000


@pytest.mark.parametrize(
    "name",
    [
        "http-socket", "http11-socket", "https-socket", "https", "scgi-socket", "scgi-nph-socket", "fastcgi-socket",
        "fastcgi-nph-socket", "raw-socket", "ssl-socket", "suwsgi-socket", "puwsgi-socket", "zmq-socket",
        "http-socket-modifier1", "fastcgi-modifier1", "scgi-modifier2", "raw-modifier1",
    ],
)  # fmt: skip
def test_sockets_of_other_protocols_are_refused_beside_one_that_works(name):
    assert re.search(
        rf"command line: {name}: (app workers speak|uWSGI's).*(use socket|nginx)",
        problems("--socket=:0", f"--{name}=x"),
    )


@pytest.mark.parametrize("name", ["protocol", "socket-protocol"])
@pytest.mark.parametrize("value", ["http", "fastcgi", "scgi", "raw", "suwsgi", "puwsgi", "http11"])
def test_other_protocols_are_refused(name, value):
    found = problems("--socket=:0", f"--{name}={value}")
    assert f"command line: {name} = {value}: expected uwsgi, the only protocol of app workers" in found
    assert load(["--socket=:0", f"--{name}=uwsgi"], {}).options.app.protocol == "uwsgi"


def test_only_names_that_work_are_suggested():
    """``http-sockt`` and ``static-mop`` are nearest to options that are refused."""
    assert "did you mean" not in problems("--static-mop=:0")
    assert "did you mean" not in problems("--http-sockt=:0")
    assert "did you mean wsgi-file?" in problems("--wsgi-fle=a")


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("static-map", "/static=/srv", "nginx: location, alias"),
        ("route", "^/a redirect:/b", "do that in the web server"),
        ("attach-daemon", "memcached", "process manager"),
        ("spooler", "/tmp", "task queue"),
        ("mules", "2", "task queue"),
        ("cron", "0 0 0 0 0 x", "timers of systemd"),
        ("gevent", "100", "processes and threads"),
        ("vhost", None, "route by key"),
        ("chroot", "/", "RootDirectory="),
        ("stop", "/run/pid", "kill"),
    ],
)
def test_what_would_be_missed_is_refused(name, value, instead):
    assert instead in problems(f"--{name}" if value is None else f"--{name}={value}")


def test_names_of_one_letter():
    found = load(["--fastrouter=:0", "-T", "-b", "4096", "-i", "-m"], {})
    assert [pair.name for pair in found.ignored] == [
        "enable-threads",
        "buffer-size",
        "single-interpreter",
        "memory-report",
    ]
    assert load(["--fastrouter=:0", "--chmod=660"], {}).options.sockets.chmod_socket == 0o660
