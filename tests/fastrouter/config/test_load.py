"""Loading: order, expansion, logic, the command line's spellings, types, and what mistakes are told."""

import re
import socket
import subprocess

import pytest
from harness import ROOT

from fastrouter.config.dialect.pairs import ConfigError
from fastrouter.config.resolve import load
from fastrouter.options import all_options
from fastrouter.reference.help import check_report, help_text, ignored_line, reference, usage_text
from fastrouter.reference.manual import completion, manuals


def options(*arguments, **environment):
    return load(arguments, environment).options


def from_ini(tmp_path, text, *arguments, **environment):
    file = tmp_path / "router.ini"
    file.write_text(text)
    return load(["--ini", str(file), *arguments], environment).options


def problems(*arguments, **environment):
    with pytest.raises(ConfigError) as caught:
        load(arguments, environment)
    return caught.value.problems


def ini_problems(tmp_path, text):
    file = tmp_path / "router.ini"
    file.write_text(text)
    return [problem.replace(f"{tmp_path}/", "") for problem in problems("--ini", str(file))]


SEED_COMMANDS = [
    "--fastrouter 127.0.0.1:3017 --fastrouter /tmp/uwsgi.sock --fastrouter @foobar",
    "--fastrouter 127.0.0.1:3017 --fastrouter-subscription-server 192.168.0.100:7000",
    "--fastrouter 127.0.0.1:3017 --fastrouter-use-base /tmp/sockets",
    "--fastrouter 127.0.0.1:3017 --fastrouter-use-base /tmp/sockets/%s/uwsgi.sock",
    "--fastrouter 127.0.0.1:3017 --fastrouter-use-pattern /tmp/sockets/%s/uwsgi.sock",
    "--socket :3031 -M --subscribe-to 192.168.0.100:7000:example.com",
    "--socket :3032 -M --subscribe-to 192.168.0.100:7000:unbit.it,5 --subscribe-to 192.168.0.100:7000:uwsgi.it",
    "--socket 192.168.0.100:0 -M --subscribe-to 192.168.0.100:7000:example.com",
    "--socket :3031 -M --subscribe-to 192.168.0.100:7000:@mappings.txt",
]


@pytest.mark.parametrize("line", SEED_COMMANDS)
def test_the_command_lines_of_the_documents_parse_as_written(line):
    options(*line.split())


@pytest.mark.parametrize(
    "line",
    [
        "--fastrouter-processes 3",
        "--fastrouter-processes=3",
        "--fastrouter-workers 3",
        "--fastrouter-proc 3",
    ],
)
def test_spellings(line):
    assert options(*line.split()).fastrouter.processes == 3


def test_short_options_and_flags():
    found = options(
        "-M", "-p", "4", "-l128", "-s:0", "-w", "app:make", "-C", "--vacuum", "--fastrouter-quiet", "1"
    )
    assert (found.app.processes, found.sockets.listen, found.app.sockets) == (4, 128, [":0"])
    assert (found.app.module, found.sockets.chmod_socket, found.sockets.vacuum) == ("app:make", 0o666, True)
    assert found.fastrouter.quiet
    assert options("--chmod-socket=660").sockets.chmod_socket == 0o660


def test_order_of_sources(tmp_path):
    text = "[uwsgi]\nfastrouter-timeout = 2\nfastrouter-to = 1.1.1.1:2\n"
    found = from_ini(tmp_path, text, "--fastrouter-to", "1.1.1.1:3", UWSGI_FASTROUTER_TIMEOUT="1")
    assert found.fastrouter.timeout == 2
    assert found.fastrouter.to == ["1.1.1.1:2", "1.1.1.1:3"]
    assert options(UWSGI_FASTROUTER_TIMEOUT="7").fastrouter.timeout == 7
    assert options(UWSGI_NO_SUCH_THING="7").fastrouter.timeout == 60


def test_zero_and_nothing_mean_the_default(tmp_path):
    assert options("--fastrouter-timeout", "0").fastrouter.timeout == 60
    assert from_ini(tmp_path, "[uwsgi]\nfastrouter-timeout\n").fastrouter.timeout == 60


@pytest.mark.parametrize(
    ("text", "on"),
    [("", True), ("true", True), ("maybe", True), ("1", True), ("No", False), ("0", False), ("off", False)],
)
def test_flags(tmp_path, text, on):
    assert from_ini(tmp_path, f"[uwsgi]\nvacuum = {text}\n").sockets.vacuum is on


def test_if_reload(tmp_path):
    file = tmp_path / "router.ini"
    file.write_text("[uwsgi]\nif-reload =\nlisten = 1\nendif =\nif-not-reload =\nlisten = 2\nendif =\n")
    assert [load([str(file)], {}, is_reload=again).options.sockets.listen for again in (False, True)] == [
        2,
        1,
    ]


def test_magic_variables_of_files(tmp_path):
    text = "[uwsgi]\nprocname = %n|%s|%d|%e|%c|%x|%p|%%|%q|%(keep)|%h|%N|50%\n"
    name = f"router|router.ini|{tmp_path}/|ini|{tmp_path.name}||{tmp_path}/router.ini|%||%(keep)"
    assert from_ini(tmp_path, text).master.procname == f"{name}|{socket.gethostname()}|router|50%"


def test_bare_files_and_includes_set_no_capitals(tmp_path):
    (tmp_path / "a.ini").write_text("[uwsgi]\nprocname = <%n><%N>\n")
    assert options(str(tmp_path / "a.ini")).master.procname == "<a><>"


def test_placeholders_environment_and_files(tmp_path):
    (tmp_path / "secret").write_text("text\n")
    text = f"""[uwsgi]
a = 17
b = 30
procname = %(a + b + 3) %(a b) %(a ++) %(b / a) %(a - b) %(b / zero) %(unknown)
zero = 0
procname-append = $(HOME_OF)/@({tmp_path}/secret)/$(UNSET)/$(UNSET:-x)
set-placeholder = unused=1
"""
    found = from_ini(tmp_path, text, HOME_OF="/home").master
    assert found.procname == "50 1730 18 1 -13 0 %(unknown)"
    assert found.procname_append == "/home/text/$(UNSET)/x"


def test_sections_includes_and_inheritance(tmp_path):
    (tmp_path / "more.ini").write_text("[uwsgi]\nfastrouter-to = 1.1.1.1:2\n[x]\nfastrouter-to = 1.1.1.1:3\n")
    (tmp_path / "base.ini").write_text("[uwsgi]\nfastrouter-to = 1.1.1.1:9\n")
    text = f"""[uwsgi]
fastrouter-to = 1.1.1.1:1
inherit = {tmp_path}/base.ini
include = {tmp_path}/more.ini
ini = :x
ini = {tmp_path}/router.ini:local
[local]
fastrouter-to = 1.1.1.1:4
"""
    assert from_ini(tmp_path, text).fastrouter.to == [f"1.1.1.1:{n}" for n in (1, 2, 3, 4, 9)]


def test_inherited_files_are_read_like_any_other(tmp_path):
    (tmp_path / "deep.ini").write_text("[uwsgi]\nprocname-append = %N\n")
    text = f"[uwsgi]\nset-ph = own=1\ninherit = {tmp_path}/deep.ini\nfastrouter-to = 1.1.1.1:1\n"
    (tmp_path / "base.ini").write_text(text)
    found = from_ini(tmp_path, f"[uwsgi]\nhere = {tmp_path}\ninherit = %(here)/base.ini\n")
    assert found.master.procname_append == "router"
    assert found.fastrouter.to == ["1.1.1.1:1"]
    (tmp_path / "base.ini").write_text("[uwsgi]\nfor = 1 2\n")
    assert "for has no end" in ini_problems(tmp_path, f"[uwsgi]\ninherit = {tmp_path}/base.ini\n")[0]


def test_logic(tmp_path):
    text = f"""[uwsgi]
for = 1 2
fastrouter-to = 1.1.1.1:%(_)
fastrouter-to = 2.2.2.2:%(_)
endfor =
for-times = 2
fastrouter-to = 3.3.3.3:%(_)
end =
if-exists = {tmp_path}/router.ini
procname = is
endif =
if-not-exists = {tmp_path}/router.ini
procname = is not
endif =
if-opt = fastrouter-to=1.1.1.1:2
procname-append = %(_)
endif =
if-opt = fastrouter-to=9.9.9.9:2
procname-append = never
endif =
"""
    found = from_ini(tmp_path, text)
    addresses = ["1.1.1.1:1", "1.1.1.1:2", "2.2.2.2:1", "2.2.2.2:2", "3.3.3.3:1", "3.3.3.3:2"]
    assert found.fastrouter.to == addresses
    assert found.master.procname == "is"
    assert found.master.procname_append == "1.1.1.1:2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("strict\nfastrouter-timeot = 3", "router.ini:3: fastrouter-timeot: there is no such option; did you mean fastrouter-timeout?"),
        ("fastrouter-timeout: 3", "router.ini:2: fastrouter-timeout: 3: expected fastrouter-timeout = VALUE; there is no colon"),
        ("listen = 5 ; enough", "router.ini:2: listen = 5 ; enough: expected a whole number of at least 1; a comment needs a line of its own"),
        ("vacuum = false # later", "router.ini:2: vacuum = false # later: expected true or false; a comment needs a line"),
        ("socket = :0 ; the app", "expected a port from 0 to 65535 after the last ':', not '0 ; the app'; a comment needs a line"),
        ("socket = 127.0.0.1", "router.ini:2: socket = 127.0.0.1: expected a port behind the address, such as 127.0.0.1:3031"),
        ("socket = ::1", "router.ini:2: socket = ::1: expected a port behind the address, such as [::1]:3031"),
        ("fastrouter = 0", "router.ini:2: fastrouter = 0: expected HOST:PORT or the path of a UNIX socket, such as :0"),
        ("fastrouter-to = 3031", "router.ini:2: fastrouter-to = 3031: expected HOST:PORT or the path of a UNIX socket"),
        ("socket = $(NOPE)", "router.ini:2: socket = $(NOPE): expected an address, but nothing is known as $(NOPE)"),
        ("socket = %(adr):4031", "router.ini:2: socket = %(adr):4031: expected an address, but nothing is known as %(adr)"),
        ("fastrouter = 127.0.0.300:3031", "router.ini:2: fastrouter = 127.0.0.300:3031: expected an IPv4 address"),
        ("fastrouter-stats = http://127.0.0.1:1717", "fastrouter-stats = http://127.0.0.1:1717: expected HOST:PORT or the path"),
        ("fastrouter-subscription-server = 127.0.0.1", "fastrouter-subscription-server = 127.0.0.1: expected a port"),
        ("zergpool = /tmp/z:127.0.0.300:1", "expected PATH:ADDRESS[,ADDRESS]..., but '127.0.0.300:1': expected an IPv4"),
        ("fastrouter = :3031\nsocket = 0.0.0.0:3031", "router.ini:3: socket = 0.0.0.0:3031: the same address twice; it is fastrouter's of "),
        ("fastrouter = /tmp/./a\nfastrouter = /tmp/a", "router.ini:3: fastrouter = /tmp/a: the same address twice; it is fastrouter's of "),
        ("fastrouter-subscription-server = :31\nfastrouter-subscription-server = :31", "router.ini:3: fastrouter-subscription-server = :31: the same address twice"),
        ("fastrouter-timeout = soon", "router.ini:2: fastrouter-timeout = soon: expected a whole number of at least 0"),
        ("fastrouter-timeout = -3", "router.ini:2: fastrouter-timeout = -3: expected a whole number of at least 0"),
        ("chmod-socket = 99", "router.ini:2: chmod-socket = 99: expected three octal digits, such as 660"),
        ("subscription-algo = best", "router.ini:2: subscription-algo = best: expected one of: wrr"),
        ("fastrouter = 127.0.0.1:http", "router.ini:2: fastrouter = 127.0.0.1:http: expected a port"),
        ("fastrouter = =0", "router.ini:2: fastrouter = =0: there is no shared-socket"),
        ("shared-socket = =0", "router.ini:2: shared-socket = =0: a shared socket needs an address"),
        ("fastrouter-to = 1.2.3:80", "router.ini:2: fastrouter-to = 1.2.3:80: expected a numeric address"),
        ("uid = nobody-at-all", "router.ini:2: uid = nobody-at-all: there is no such user"),
        ("chown-socket = root:no-group-of-this-name", "there is no such group"),
        ("socket = :0\nneed-app", "router.ini:3: need-app = true: there is no application"),
        ("wsgi-file = /no/app.py\nsocket = :0", "router.ini:2: wsgi-file = /no/app.py: there is no such file"),
        ("chdir = /no/where", "router.ini:2: chdir = /no/where: there is no such directory"),
        ("pidfile = /no/where/pid", "router.ini:2: pidfile = /no/where/pid: there is no such directory"),
        ("subscribe-to = nowhere", "router.ini:2: subscribe-to = nowhere: expected SERVER:KEY"),
        ("subscribe2 = server=1.1.1.1:1", "expected server=ADDRESS,key=KEY"),
        ("subscribe2 = server=1.1.1.1:1,key=a", "router.ini:2: subscribe2 = server=1.1.1.1:1,key=a: there is no socket"),
        ("subscribe-to = =3=1.1.1.1:1:a", "there is no socket number 3"),
        ("if-hostname-match = (", "if-hostname-match = ("),
        ("listen = --5", "router.ini:2: listen = --5: expected a whole number of at least 1"),
        ("fastrouter-emperor-socket = x:1", "router.ini:2: fastrouter-emperor-socket: not supported, because"),
        ("http = :80", "router.ini:2: http: uWSGI's HTTP router is not here; put nginx in front"),
        ("subscriptions-sign-check = SHA1", "expected DIGEST:DIRECTORY"),
        ("include = /no/file.ini", "router.ini:2: include = /no/file.ini: No such file or directory"),
        ("procname = @(a\0b)", "router.ini:2: procname = @(a\0b): embedded null byte"),
        ("include = a\0b.ini", "router.ini:2: include = a\0b.ini: embedded null byte"),
        ("for-readline = a\0b\nendfor =", "embedded null byte"),
        ("procname = @(/no/file)", "router.ini:2: procname = @(/no/file): No such file or directory"),
        ("for = a b", "router.ini:2: for has no end"),
        ("endif =", "router.ini:2: endif: there is no block to end"),
        ("for = a\nif-env = X\nendif =", "router.ini:3: if-env: blocks do not nest"),
        ("set-ph = x", "router.ini:2: set-ph = x: expected NAME=VALUE"),
        ("x = %(y)\ny = a%(y)\n", "refers to itself"),
    ],
)  # fmt: skip
def test_mistakes_name_place_option_and_expectation(tmp_path, text, expected):
    assert any(expected in problem for problem in ini_problems(tmp_path, f"[uwsgi]\n{text}\n"))


def test_all_mistakes_are_told_at_once(tmp_path):
    assert len(ini_problems(tmp_path, "[uwsgi]\nstrict\nnonsense = 1\nlisten = x\nvacum = 1\n")) == 3


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--fastrouter", "--fastrouter needs an argument"),
        ("--master=false", "--master takes no argument"),
        ("--fastrouter-t 3", "--fastrouter-t is ambiguous: --fastrouter-timeout, --fastrouter-to"),
        ("--fastruter :1", "did you mean fastrouter?"),
        ("-%", "unknown option -%"),
        ("-p", "-p needs an argument"),
        ("/etc/passwd", "expected a configuration file whose name ends in .ini, .yaml"),
        ("missing.ini", "command line: missing.ini: there is no such file"),
    ],
)
def test_mistakes_on_the_command_line(line, expected):
    assert any(expected in problem for problem in problems(*line.split()))


def test_files_that_include_each_other_end(tmp_path):
    assert any(
        "include each other" in one
        for one in ini_problems(tmp_path, f"[uwsgi]\nini = {tmp_path}/router.ini\n")
    )


def test_names_that_nothing_uses_are_warned_of(tmp_path):
    file = tmp_path / "router.ini"
    file.write_text(
        "[uwsgi]\nfastrouter = :0\ntimeot = 3\nbase = /srv\nchdir2here = %(base)\npythonpath = /x # y\n"
    )
    found = load(["--ini", str(file)], {"UWSGI_NO_SUCH_THING": "7"})
    warnings = [warning.replace(f"{tmp_path}/", "") for warning in found.warnings]
    assert warnings == [
        "environment: no-such-thing: there is no such option, and nothing refers to it",
        "router.ini:3: timeot: there is no such option, and nothing refers to it",
        "router.ini:5: chdir2here: there is no such option, and nothing refers to it",
        "router.ini:6: pythonpath = /x # y: what follows the blank is part of the value; "
        "a comment needs a line of its own",
        "the fastrouter has no way to find a node: every request will be closed",
    ]
    assert all(f"; warning: {warning}" in check_report(found) for warning in found.warnings)


def test_the_check_warns_of_what_the_start_warns_of():
    found = load(["--fastrouter=:0", "--fastrouter-to=:9", "--fastrouter-use-base=/x", "--check"], {})
    assert "; warning: fastrouter-to has no effect beside fastrouter-use-base" in check_report(found)


def test_ports_that_the_kernel_chooses_and_the_two_kinds_may_be_there_twice():
    addresses = [
        "--fastrouter=:0",
        "--fastrouter=:0",
        "--socket=127.0.0.1:3031",
        "--fastrouter-stats=127.0.0.2:3031",
    ]
    assert options(*addresses, "--fastrouter-subscription-server=127.0.0.1:3031").fastrouter.addresses == [
        ":0",
        ":0",
    ]


def test_strict_refuses_unreferenced_names(tmp_path):
    assert from_ini(tmp_path, "[uwsgi]\nname = a\nprocname = %(name)\n").master.procname == "a"
    assert ini_problems(tmp_path, "[uwsgi]\nstrict\nname = a\nprocname = %(name)\n")


def test_options_that_mean_nothing_here_are_named_once(tmp_path):
    file = tmp_path / "router.ini"
    file.write_text("[uwsgi]\nplugins = fastrouter\nbuffer-size = 8192\nfastrouter = :0\n")
    line = ignored_line(load(["--ini", str(file), "--die-on-term"], {}))
    assert line.startswith("these options of uWSGI mean nothing here (--check says why): ")
    assert re.search(
        r"plugins \(.*router\.ini:2\), buffer-size \(.*:3\), die-on-term \(command line\)$", line
    )


def test_the_check_report_says_where_each_value_came_from(tmp_path):
    file = tmp_path / "router.ini"
    file.write_text("[uwsgi]\nfastrouter = :0\nfastrouter-cheap\nchmod-socket = 660\nthunder-lock\n")
    report = check_report(load(["--ini", str(file), "--check"], {}))
    assert re.search(rf"^fastrouter = :0 +; {file}:2$", report, re.MULTILINE)
    assert re.search(r"^fastrouter-cheap = true +; .*:3$", report, re.MULTILINE)
    assert re.search(r"^chmod-socket = 660 +; .*:4$", report, re.MULTILINE)
    assert re.search(r"^fastrouter-timeout = 60 +; default$", report, re.MULTILINE)
    assert re.search(r"^; thunder-lock \(.*:5\): the kernel wakes one waiter", report, re.MULTILINE)


def test_the_short_help_has_examples_that_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text("")
    (tmp_path / "router.ini").write_text("[uwsgi]\nfastrouter = :0\n")
    lines = usage_text().splitlines()
    commands = [line.split()[1:] for line in lines if line.startswith("    fastrouter-master ")]
    assert len(lines) < 26 and len(commands) == 5
    assert not any(load(command, {}).unused for command in commands)
    assert load(["-h"], {}).commands == {"usage"}


def test_help_names_every_option():
    text = help_text()
    assert all(f"--{option.name}" in text for option in all_options().values())


def test_what_is_made_from_the_declarations_is_up_to_date():
    """scripts/reference makes it."""
    assert (ROOT / "docs" / "options.md").read_text() == reference()
    assert (ROOT / "conf" / "completion" / "fastrouter.bash").read_text() == completion()
    pages = {file.name: file.read_text() for file in (ROOT / "docs" / "man").iterdir()}
    assert pages == manuals()


def test_completion_in_a_real_shell():
    script = (
        f"source {ROOT}/conf/completion/fastrouter.bash; COMP_WORDS=($1 $2); COMP_CWORD=1; _fastrouter; "
        'echo "${COMPREPLY[@]}"'
    )
    for command, typed, expected in (
        ("fastrouter-master", "--fastrouter-use-c", "--fastrouter-use-cache --fastrouter-use-code-string"),
        ("/usr/bin/fastrouter-top", "--on", "--once"),
        ("fastrouter-explain", "--cl", "--client"),
        ("fastrouter-request", "--va", "--variable"),
        ("fastrouter-doctor", f"{ROOT}/READ", f"{ROOT}/README.md"),
    ):
        words = ["bash", "-c", script, "sh", command, typed]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == expected


@pytest.mark.parametrize("line", ["fastrouter-timeot = 3", "proceses = 2", "fast-router = :0"])
def test_an_option_that_is_misspelt_is_an_error(tmp_path, line):
    """Unlike a name that somebody has made up; what it was meant to change would not be changed."""
    file = tmp_path / "router.ini"
    file.write_text(f"[uwsgi]\nfastrouter = :0\n{line}\n")
    with pytest.raises(ConfigError, match=r"router\.ini:3: .*: there is no such option; did you mean"):
        load(["--ini", str(file)], {})
