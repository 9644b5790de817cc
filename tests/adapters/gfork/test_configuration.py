"""What gfork reads: files as xinetd and Globus' gfork have them, switches, and what it says of errors."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.adapters.gfork.access import Access, network_of
from gproc.adapters.gfork.command import SWITCHES, main
from gproc.adapters.gfork.grammar import ConfigLine, ConfigurationError, Origin, parse
from gproc.adapters.gfork.keys import KEYS
from gproc.adapters.gfork.settings import Configured, NoServer, settings_of
from gproc.adapters.gfork.switches import BadSwitch, read_switches
from gproc.errors import UsageError
from tests.adapters.gfork.running import OURS

SEED = """\
service gridftp2
{
    instances = 100
    env += GLOBUS_LOCATION=/opt/globus
    env += LD_LIBRARY_PATH=/opt/globus/lib
    server = /opt/globus/sbin/globus-gridftp-server
    server_args = -i -aa
    server_args += -d ALL -l /var/tst.log
    server_args += -dsi remote -repo-count 1
    nice = 10
    port = 5000
    master = /opt/globus/libexec/gfs-gfork-master
    master_args = -port 6065 -l /var/master.log -G n
    master_args += -dn /etc/master_gridmap
}
"""
"""The example of GFork's own documentation."""


def read(lines: str, *switches: ConfigLine) -> Configured:
    return settings_of(parse(f"service s\n{{\nserver = /bin/cat\n{lines}\n}}\n", "f"), switches)


def warnings(lines: str) -> list[str]:
    return [str(warning) for warning in read(lines).warnings]


def switch(key: str, value: str) -> ConfigLine:
    return ConfigLine(key, "=", value, Origin(f"-{key}", 0, 1, ""))


def refusal(lines: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(lines)
    return str(caught.value)


def test_the_example_of_its_documentation_means_what_it_says() -> None:
    configured = settings_of(parse(SEED, "f"))
    settings = configured.settings
    assert configured.warnings == ()
    assert (settings.name, settings.port, settings.instances, settings.nice) == ("gridftp2", 5000, 100, 10)
    assert " ".join(settings.server_args) == "-i -aa -d ALL -l /var/tst.log -dsi remote -repo-count 1"
    (master,) = settings.masters
    assert " ".join(master.arguments) == "-port 6065 -l /var/master.log -G n -dn /etc/master_gridmap"
    assert master.environment == settings.environment == (
        "GLOBUS_LOCATION=/opt/globus", "LD_LIBRARY_PATH=/opt/globus/lib",
    )  # fmt: skip


def test_instance_is_instances() -> None:
    assert read("instance = 7").settings.instances == 7
    assert read("instances = 0").settings.instances == 100
    assert read("instances = unlimited").settings.instances is None


def test_a_file_of_xinetd_with_one_service_works() -> None:
    text = """
# default: on
defaults
{
    instances = 60
    log_type = SYSLOG authpriv
    only_from = 10.0.0.0 192.168.1.0/24
}

service echo {
    disable         = no
    type            = UNLISTED
    socket_type     = stream
    protocol        = tcp
    wait            = no
    user            = nobody
    flags           = REUSE
    server          = /bin/cat
    server_args     = -u
    log_on_failure += USERID
    only_from      += ::1
    only_from      -= 10.0.0.0
}
"""
    configured = settings_of(parse(text, "f"))
    assert configured.warnings == ()
    assert (configured.settings.name, configured.settings.user, configured.settings.instances) == ("echo", "nobody", 60)
    assert configured.settings.access.only_from == (network_of("192.168.1.0/24"), network_of("::1"))


def test_a_value_keeps_all_its_signs() -> None:
    assert read("env = A=1+2 B=C=D\nenv += X=c++").settings.environment == ("A=1+2", "B=C=D", "X=c++")


def test_quotes_keep_blanks() -> None:
    assert read("env = 'A=x  y' B='  '").settings.environment == ("A=x  y", "B=  ")
    assert read('server_args = "-i   -aa"').settings.server_args == ("-i", "-aa")
    assert read(r'"crowded" = "421 Later\r\n"').settings.crowded == b"421 Later\r\n"


def test_each_master_has_the_environment_and_the_arguments_before_the_next() -> None:
    lines = "env = A=1\nmaster = /m1\nmaster_args = -x\nmaster-uid = 5\nmaster = /m2\nenv = B=2\nmaster_args = -y"
    first, second = read(lines).settings.masters
    assert (first.program, first.arguments, first.environment, first.uid) == ("/m1", ("-x",), ("A=1",), 5)
    assert (second.program, second.arguments, second.environment, second.uid) == ("/m2", ("-y",), ("B=2",), None)
    assert read(lines).settings.environment == ("B=2",)


def test_nodes_that_cannot_be_and_a_log_that_has_no_path_are_refused_where_they_stand() -> None:
    assert refusal("backends = 1-!").startswith("f:4:12: backends: '1-!' is not a node specification: ")
    assert refusal("log_file = log").startswith("f:4:12: log_file: expected a path that begins with /, or -, not 'log'")


def test_what_stands_before_the_brace_is_as_it_is_for_globus() -> None:
    for beginning in ("service s\n{", "service s {", "  service s\n  {", "{", "# x\n\nservice\n{"):
        assert settings_of(parse(f"{beginning}\n server = /bin/cat\n}}\n", "f")).settings.server == "/bin/cat"


def test_an_unknown_key_is_a_warning_with_its_line_and_a_suggestion() -> None:
    assert warnings("  instanses = 3") == [
        "f:4:3: there is no key instanses; the line has no effect; did you mean instances?"
    ]
    assert warnings("cps = 25 30") == ["f:4:1: there is no key cps; the line has no effect"]
    assert "did you mean server_args" in warnings("server-args = -i")[0]


def test_the_end_of_the_file_ends_the_service_and_a_second_service_has_no_effect() -> None:
    assert str(settings_of(parse("{\nserver = /bin/cat", "f")).warnings[0]) == (
        "f:2:1: the file ends before the closing }"
    )
    (warning,) = settings_of(parse("{\nserver = /bin/cat\n}\nservice b\n{\nserver = /b\n}\n", "f")).warnings
    assert str(warning).startswith("f:4:1: gfork runs one service")


def test_a_list_that_is_set_again_grows_and_is_warned_of() -> None:
    configured = read("server_args = a\nserver_args = b")
    assert configured.settings.server_args == ("a", "b")
    assert "as by +=" in str(configured.warnings[0])


@pytest.mark.parametrize(
    ("lines", "where", "reason"),
    [
        ("port = 70000", "f:4:8", "port: 70000 is not between 0 and 65535"),
        ("\tport = 5x", "f:4:9", "port: expected a whole number, not '5x'"),
        ("nice = 20", "f:4:8", "nice: 20 is not between -20 and 19"),
        ("user =", "f:4:7", "user: expected one word, not ''"),
        ("disable = yes", "f:4:11", "disable: the service is switched off here: write disable = no"),
        ("socket_type = dgram", "f:4:15", "socket_type: 'dgram' cannot be served: stream is all that there is"),
        ("wait = yes", "f:4:8", "wait: 'yes' cannot be served: no is all that there is"),
        ("env = A", "f:4:7", "env: 'A' is not NAME=VALUE: put a value with blanks between ', as in NAME='a b'"),
        ("env = A=b 'c", "f:4:11", "this quote is not closed by another '"),
        ('crowded = "421', "f:4:11", 'this quote is not closed by another "'),
        ('server_args = "a" b', "f:4:19", "text after the closing quote"),
        ("instances 5", "f:4:11", "expected KEY = VALUE"),
        ("= 5", "f:4:1", "expected KEY = VALUE"),
        ("port += 5", "f:4:1", "port is one value: write port = VALUE"),
        ("master = gfs", "f:4:10", "master: expected a path that begins with /, not 'gfs': no PATH is searched"),
        ("only_from = here", "f:4:13", "only_from: 'here' is neither an address nor a network"),
        ("access_times = 2:00-3:00", "f:4:1", "gfork serves at all times: access_times cannot be kept"),
        ("flags = REUSE NAMEINARGS", "f:4:9", "NAMEINARGS is not kept: server_args begin without the program"),
        ("quiet = maybe", "f:4:9", "quiet: expected yes or no, not 'maybe'"),
        ("id = \0", "f:4:6", "a zero byte: this is not a text file"),
        ("env = A=" + "x" * 70_000, "f:4:1", "the line has 70,008 characters; the limit is 65,536"),
    ],
)
def test_an_error_names_the_file_the_line_and_the_column(lines: str, where: str, reason: str) -> None:
    assert refusal(lines).startswith(f"{where}: {reason}")


def test_a_line_that_belongs_to_nothing_is_an_error() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse("  port = 5\n", "f")
    assert str(caught.value) == "f:1:3: expected `service NAME`, and { on the next line\n    port = 5\n    ^"


def test_a_service_needs_a_server() -> None:
    with pytest.raises(UsageError, match="no program is named"):
        settings_of(parse("service s\n{\n}\n", "f"))


def test_a_switch_counts_more_than_the_file_and_lists_have_both() -> None:
    switches = (switch("port", "6000"), switch("server_args", "-first"), switch("server", "/bin/tac"))
    settings = read("port = 5000\nserver_args = -second", *switches).settings
    assert (settings.port, settings.server, settings.server_args) == (6000, "/bin/tac", ("-first", "-second"))


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        settings_of(parse(text, "f"))
    except ConfigurationError as error:
        assert 1 <= error.origin.line <= text.count("\n") + 1
        assert error.origin.column >= 1
    except UsageError:
        pass


_KEY_NAMES = st.sampled_from([key.name for key in KEYS])
_LINES = st.tuples(_KEY_NAMES, st.sampled_from(["=", "+=", "-="]), st.text(max_size=20)).map(" ".join)


@given(st.lists(_LINES, max_size=8))
def test_any_line_of_a_known_key_is_taken_or_refused_with_a_place(lines: list[str]) -> None:
    try:
        read("\n".join(lines))
    except ConfigurationError as error:
        assert error.origin.line >= 4
    except NoServer as error:  # `backends` needs a second service
        assert "second service" in str(error)


_SIGNS = st.characters(blacklist_characters="'", blacklist_categories=("C", "Zl", "Zp"))


@given(st.lists(st.text(_SIGNS, min_size=1)))
def test_words_come_back_as_they_were_written(words: list[str]) -> None:
    quoted = "  ".join(f"'{word}'" for word in words)
    assert list(read(f"server_args = {quoted}").settings.server_args) == words


def test_switches_are_written_in_all_of_globus_ways() -> None:
    for words in (["-p", "5"], ["-port", "5"], ["--port", "5"], ["--port=5"]):
        assert read_switches(words, SWITCHES) == [("port", "5")]
    assert read_switches(["-sa", "-i -aa", "-h"], SWITCHES) == [("server_args", "-i -aa"), ("help", "")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-instanses", "3"], "there is no switch -instanses; did you mean -instances?"),
        (["file"], "there is no switch file; -h shows the switches"),
        (["-p"], "-p needs a value: -p PORT"),
        (["--help=x"], "-help has no value"),
    ],
)
def test_a_wrong_switch_is_named(words: list[str], said: str) -> None:
    with pytest.raises(BadSwitch) as caught:
        read_switches(words, SWITCHES)
    assert said == str(caught.value)


@pytest.mark.parametrize(
    ("only_from", "no_access", "client", "allowed"),
    [
        (None, (), "192.0.2.1", True),
        (None, ("192.0.2.0",), "192.0.2.1", False),
        (("10.0.0.0",), (), "10.200.3.4", True),
        (("10.0.0.0",), (), "::ffff:10.200.3.4", True),
        (("10.0.0.0",), (), "11.0.0.1", False),
        (("10.0.0.0",), ("10.1.0.0",), "10.1.2.3", False),
        (("10.1.2.3", "10.0.0.0"), ("10.1.0.0",), "10.1.2.3", True),
        (("fe80::/10",), (), "fe80::1%eth0", True),
        (("0.0.0.0",), (), "192.0.2.1", True),
    ],
)
def test_the_network_that_fits_best_decides(
    only_from: tuple[str, ...] | None, no_access: tuple[str, ...], client: str, allowed: bool
) -> None:
    access = Access(None if only_from is None else tuple(map(network_of, only_from)), tuple(map(network_of, no_access)))
    assert access.allows(client) is allowed


def test_the_command_says_what_is_wrong_and_ends_with_2(tmp_path: Path) -> None:
    file = tmp_path / "gfork.conf"
    file.write_text("service s\n{\n  port = many ports\n}\n")
    done = subprocess.run([*OURS, "-c", file], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"gfork: {file}:3:10: port: expected a whole number, not 'many ports'\n    port = many ports\n           ^\n"
    )


def test_check_says_what_a_file_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gfork.conf"
    file.write_text(SEED.replace("instances", "instence"))
    assert main(["-c", str(file), "--check"]) == 2, "Globus is not there"
    said = capsys.readouterr()
    assert "did you mean instance" in said.err
    assert "master       /opt/globus/libexec/gfs-gfork-master -port 6065" in said.out


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("server = /nowhere/server", "server = /nowhere/server: No such file or directory"),
        ("server = /etc", "server = /etc: this is not a file"),
        ("server = /etc/passwd", "server = /etc/passwd: this file is not executable"),
        ("master = /bin/nonesuch", "master = /bin/nonesuch: No such file or directory"),
        ("user = nonesuch", "there is no user nonesuch"),
        ("user = 4000000", "there is no user 4000000"),
        ("group = nonesuch", "there is no group nonesuch"),
        ("port = nonesuch", "port = nonesuch: there is no such service in /etc/services; write a number"),
        ("bind = 300.1.1.1", "bind = 300.1.1.1: Name or service not known"),
        ("log_file = /nowhere/log", "log_file = /nowhere/log: there is no directory /nowhere"),
        ("backends = 1-2", "--backends: nothing says where the data nodes register: give the"),
        ("", ""),
        ("user = nobody\nport = 22", ""),
    ],
)
def test_a_service_that_check_found_right_could_serve_nobody(
    tmp_path: Path, lines: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gfork.conf"
    second = "\nservice t\n{\nserver = /bin/cat\n}\n" if "backends" in lines else ""
    file.write_text(f"service s\n{{\nserver = /bin/cat\n{lines}\n}}\n{second}")
    assert main(["-c", str(file), "--check"]) == (2 if told else 0)
    said = capsys.readouterr()
    assert said.out.startswith("service      s\n")
    begin = f"gfork: {told}" if told else ""
    assert said.err.startswith(begin) and len(said.err.splitlines()) == bool(told)


def test_check_looks_at_what_the_nodes_are_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gfork.conf"
    text = (
        "service s\n{\nserver = /bin/cat\nmaster = /bin/cat\nmaster_args = -p 7000\nbackends = 1-2\n}\n"
        "service t\n{\nserver = /nowhere/server\n}\n"
    )
    file.write_text(text)
    assert main(["-c", str(file), "--check"]) == 2
    told = "gfork: service t, which the nodes run: server = /nowhere/server: No such file or directory\n"
    assert capsys.readouterr().err == told, "it looked like the first service's"
    file.write_text(text.replace("backends", "local_bin = yes\nbackends"))
    assert main(["-c", str(file), "--check"]) == 0


@pytest.mark.parametrize("path", ["/nowhere/gfork.conf", "/", "/dev/zero"])
def test_a_file_that_is_none_is_named(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-c", path]) == 2
    assert path in capsys.readouterr().err


def test_help_and_version_need_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-help"]) == 0
    assert "-instances" in capsys.readouterr().out
    assert main(["-v"]) == 0
    assert capsys.readouterr().out.startswith("gfork (gproc ")
