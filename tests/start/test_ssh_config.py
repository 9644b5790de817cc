"""The user's ssh_config, of which gproc's own ssh knows less than ssh(1)."""

from __future__ import annotations

import asyncio
import getpass
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import asyncssh
import pytest

from gproc.start.ssh import SshFailed, Ways, open_channel


def test_what_cannot_be_read_was_called_a_bug_of_gproc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text('Match exec "test a = b"\n')
    told = f"{tmp_path}/.ssh/config line 1: .*: gproc's own ssh cannot use that; --ssh-command ssh takes yours"
    with pytest.raises(SshFailed, match=told):
        asyncio.run(open_channel("127.0.0.1", "true", Ways()))


async def refusal(home: Path, known: str, *, accept: bool = True, **config: str) -> str:
    """Why a host is refused that shows a new key, if new keys are to be accepted.  known: "link" or "directory" for the
    user's known_hosts; else the words before a key that the host had once, in the file that `config` names."""
    former, shown = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[shown])
    port = server.get_port()
    lines = "".join(f"  {name} {value}\n" for name, value in {"HostName": "127.0.0.1", "Port": port, **config}.items())
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").write_text(f"Host node\n{lines}")
    usual = home / ".ssh" / "known_hosts"
    if known == "link":
        usual.symlink_to("nowhere")
    elif known == "directory":
        usual.mkdir()
    else:
        line = f"{known.format(port=port)} {former.export_public_key().decode()}"
        named = str(config.get("UserKnownHostsFile", usual))
        (usual if named == "none" else Path(named)).write_text(line)
    return await told_by(server, accept=accept)


async def told_by(server: asyncssh.SSHAcceptor, *, accept: bool) -> str:
    """Why nobody may log in there, as `Host node` of ssh_config.  It is closed then."""
    try:
        with pytest.raises(SshFailed) as failed:
            await open_channel("node", "true", Ways(accept_new_host_keys=accept))
    finally:
        server.close()
        await server.wait_closed()
    return str(failed.value)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("words", ["[127.0.0.1]:{port}", "127.0.0.1", "*"])
def test_a_host_with_another_key_than_the_file_of_ssh_config_has_is_refused(home: Path, words: str) -> None:
    """With --accept-new-host-keys: the key counted as new, because ~/.ssh/known_hosts does not have that host."""
    found = asyncio.run(refusal(home, words, UserKnownHostsFile=f"{home}/site-hosts"))
    assert found.startswith("its host key is another one than known_hosts has")
    assert not (home / ".ssh" / "known_hosts").exists()


async def logins(home: Path, shown: Sequence[asyncssh.SSHKey], lines: str, *, accept: bool = True) -> list[str]:
    """Why nobody may log in at a server that shows one key after the other.  lines: what ssh_config says of it."""
    (home / ".ssh").mkdir(exist_ok=True)
    found, port = [], 0
    for key in shown:
        server = await asyncssh.listen("127.0.0.1", port, server_host_keys=[key])
        port = server.get_port()
        config = f"Host node\n  HostName 127.0.0.1\n  Port {port}\n{lines}"
        (home / ".ssh" / "config").write_text(config)
        if (site := home / "site-hosts").exists():
            site.write_text(site.read_text().format(port=port))
        found.append(await told_by(server, accept=accept))
    return found


@pytest.fixture(scope="module")
def two_keys() -> list[asyncssh.SSHKey]:
    return [asyncssh.generate_private_key("ssh-ed25519") for _ in range(2)]


@pytest.mark.parametrize("name", ["~/%n.hosts", "${HOME}/node.hosts ~/more", "node.hosts"])
def test_a_new_key_was_not_noted_in_the_file_that_counts_so_that_any_other_was_new_too(
    home: Path, two_keys: list[asyncssh.SSHKey], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was noted in ~/.ssh/known_hosts, which was not read for it: a machine on the way could get the node's
    secrets."""
    monkeypatch.chdir(home)
    first, second = asyncio.run(logins(home, two_keys, f"  UserKnownHostsFile {name}\n"))
    assert first.startswith("Permission denied"), "that file is not there yet, as for ssh(1)"
    assert second.startswith("its host key is another one than known_hosts has")
    assert (home / "node.hosts").read_text().startswith("[127.0.0.1]:")
    assert not (home / ".ssh" / "known_hosts").exists()


@pytest.mark.parametrize("word", ["%z", "${NO_SUCH_VARIABLE}"])
def test_a_file_of_known_hosts_whose_name_is_not_known_is_not_an_empty_one(
    home: Path, two_keys: list[asyncssh.SSHKey], word: str
) -> None:
    (told,) = asyncio.run(logins(home, two_keys[:1], f"  UserKnownHostsFile ~/{word}/hosts\n"))
    assert told.startswith(f"{word} in UserKnownHostsFile ~/{word}/hosts is not known: gproc's own ssh cannot")


@pytest.mark.parametrize("users", ["missing", ""])
def test_a_key_that_the_site_knows_counts_beside_the_users(
    home: Path, two_keys: list[asyncssh.SSHKey], users: str
) -> None:
    (home / "site-hosts").write_text("[127.0.0.1]:{port} " + two_keys[0].export_public_key().decode())
    lines = f"  GlobalKnownHostsFile {home}/site-hosts {home}/none\n"
    lines += f"  UserKnownHostsFile {home}/{users}\n" if users else ""
    first, second = asyncio.run(logins(home, two_keys, lines, accept=False))
    assert first.startswith("Permission denied")
    assert second.startswith("its host key is another one than known_hosts has")


def test_the_users_known_hosts_count_beside_the_sites(home: Path, two_keys: list[asyncssh.SSHKey]) -> None:
    first, second = asyncio.run(logins(home, two_keys, f"  GlobalKnownHostsFile {home}/none\n"))
    assert first.startswith("Permission denied")
    assert second.startswith("its host key is another one than known_hosts has")
    assert (home / ".ssh" / "known_hosts").read_text().startswith("[127.0.0.1]:")


def test_a_jump_host_is_not_taken_with_any_key_if_the_file_of_known_hosts_is_none(
    home: Path, two_keys: list[asyncssh.SSHKey]
) -> None:
    lines = "  UserKnownHostsFile none\nHost far\n  ProxyJump node\n  UserKnownHostsFile none\n"

    async def through() -> str:
        await logins(home, two_keys[:1], lines)
        (home / ".ssh" / "known_hosts").unlink()
        text = (home / ".ssh" / "config").read_text()
        port = int(text.split("Port ")[1].split()[0])
        async with await asyncssh.listen("127.0.0.1", port, server_host_keys=two_keys[:1]):
            with pytest.raises(SshFailed) as failed:
                await open_channel("far", "true", Ways(accept_new_host_keys=True))
        return str(failed.value)

    assert "host key" in asyncio.run(through()).lower()


@pytest.mark.parametrize("kind", ["link", "directory"])
def test_known_hosts_that_cannot_be_read_are_not_no_known_hosts(home: Path, kind: str) -> None:
    assert "its host key cannot be compared with known_hosts: " in asyncio.run(refusal(home, kind))
    assert not (home / ".ssh" / "nowhere").exists()


@pytest.mark.parametrize("known", ["elsewhere", "[127.0.0.1]:{port}"])
def test_a_file_of_known_hosts_that_is_none_does_not_mean_any_key(home: Path, known: str) -> None:
    """asyncssh accepts every key then, so a machine on the way would have got the node's secrets."""
    found = asyncio.run(refusal(home, known, accept=known != "elsewhere", UserKnownHostsFile="none"))
    expected = "is not in known_hosts" if known == "elsewhere" else "is another one than known_hosts has"
    assert expected in found


def test_a_proxyjump_that_leads_to_itself_is_named(home: Path) -> None:
    """`gproc start` ended with 2,800 lines of a traceback, and no other host was started."""
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").write_text("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    with pytest.raises(SshFailed, match="its ProxyJump in ssh_config leads to itself"):
        asyncio.run(open_channel("a", "true", Ways()))


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('exec "echo %h | grep -qxF 127.0.0.9"', True),
        ('originalhost nodes exec "echo %n.%h | grep -qxF nodes.127.0.0.9" !exec "test %p -eq 22"', True),
        ('exec "echo %h | grep -qxF %%h"', False),
        ('exec "echo %r+%u | grep -qxF me+$USER"', True),
        ('exec "true %L %l %d %i %C"', True),
        ('exec "echo %k:%j | grep -qxF nodes:"', True),
    ],
)
def test_what_match_exec_says_of_the_host_was_not_replaced(
    home: Path, condition: str, holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ssh took the lines of the block, and gproc did not, without a word."""
    monkeypatch.setenv("USER", getpass.getuser())
    (home / ".ssh").mkdir()
    config = f"Host nodes\n  HostName 127.0.0.9\n  User me\n  Port 7\nMatch {condition}\n  ProxyCommand false -x %h\n"
    (home / ".ssh" / "config").write_text(config)
    with pytest.raises(SshFailed) as failed:
        asyncio.run(open_channel("nodes", "true", Ways()))
    assert ("by the ProxyCommand false -x 127.0.0.9" in str(failed.value)) is holds


def test_a_token_of_match_exec_that_nobody_knows_is_told(home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").write_text('Host nodes\n  Port 1\n\nMatch exec "test %z"\n')
    with pytest.raises(SshFailed, match="line 4: %z in Match exec is not known: gproc's own ssh cannot"):
        asyncio.run(open_channel("nodes", "true", Ways()))


@pytest.mark.parametrize("before", ["host bastion", "!host nodes", "exec false", 'user other exec "touch {home}/ran"'])
def test_a_token_that_nobody_knows_failed_also_the_hosts_of_which_its_line_does_not_speak(
    home: Path, before: str
) -> None:
    (home / ".ssh").mkdir()
    block = f'Match {before.format(home=home)} exec "test %z"\n  ProxyCommand false\n'
    (home / ".ssh" / "config").write_text(block + "Host *\n  ProxyCommand false -x %h\n")
    with pytest.raises(SshFailed, match="by the ProxyCommand false -x nodes"):
        asyncio.run(open_channel("nodes", "true", Ways()))
    assert not (home / "ran").exists()


async def told_by_a_server(
    home: Path, config: str, *, authorized: bool | asyncssh.SSHKey, host: str = "node"
) -> str:
    """What a host says that accepts the key `home`/.ssh/good, or no key, or another.  config: of ssh; {port} is the
    server's.
    """
    (home / ".ssh").mkdir(exist_ok=True)
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(home / ".ssh" / "good"))
    if isinstance(authorized, asyncssh.SSHKey):
        authorized.write_public_key(str(home / "authorized"))
    elif authorized:
        key.write_public_key(str(home / "authorized"))
    else:
        asyncssh.generate_private_key("ssh-ed25519").write_public_key(str(home / "authorized"))
    own = asyncssh.generate_private_key("ssh-ed25519")

    def serve(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write("reached\n")
        process.exit(0)

    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[own], authorized_client_keys=str(home / "authorized"), process_factory=serve,
    )  # fmt: skip
    try:
        port = server.get_port()
        (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {own.export_public_key().decode()}")
        (home / ".ssh" / "config").write_text(config.format(port=port, home=home))
        channel, _ = await open_channel(host, "true", Ways())
        line = await channel.line()
        await channel.close()
        return line.decode()
    finally:
        server.close()
        await server.wait_closed()


NODE = "Host node jump\n  HostName 127.0.0.1\n  Port {port}\nHost *\n"


@pytest.mark.parametrize(
    "lines",
    [
        "  IdentityFile ~/.ssh/gone\n  IdentityFile ~/.ssh/good\n",
        "  IdentityFile ~/.ssh/good\n  IdentityFile {home}/.ssh\n",
        "  IdentityFile ~/.ssh/good\n  CertificateFile ~/.ssh/gone-cert.pub\n",
        "  IdentityFile ~/.ssh/gone\n  IdentityFile ~/.ssh/good\n  IdentitiesOnly yes\n",
    ],
)
def test_a_key_that_is_not_there_failed_the_host_and_ssh_goes_on(
    home: Path, lines: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert asyncio.run(told_by_a_server(home, NODE + lines, authorized=True)) == "reached\n"


def test_a_key_that_is_not_there_is_named_if_the_host_refuses(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    lines = "  IdentityFile ~/.ssh/gone\n  IdentityFile ~/.ssh/good\n"
    with pytest.raises(SshFailed, match=r"Permission denied.*; no such key: ~/.ssh/gone$"):
        asyncio.run(told_by_a_server(home, NODE + lines, authorized=False))


class Agent(NamedTuple):
    """An ssh agent with one key, which the server accepts."""

    socket: Path
    key: Path


@pytest.fixture
def agent(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    if shutil.which("ssh-agent") is None or shutil.which("ssh-add") is None:
        pytest.skip("needs ssh-agent and ssh-add")
    one = Agent(home / "agent", home / "in-agent")
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(one.key))
    key.write_public_key(f"{one.key}.pub")
    one.key.chmod(0o600)
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(one.socket)], stdout=subprocess.PIPE)
    assert process.stdout is not None and b"SSH_AUTH_SOCK" in process.stdout.readline()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(one.socket))
    subprocess.run(["ssh-add", "-q", str(one.key)], check=True)
    one.key.unlink()
    yield one
    process.terminate()
    process.communicate()


@pytest.mark.parametrize("option", ["IdentityFile ~/.ssh/gone", "IdentityFile none"])
def test_keys_that_the_user_has_excluded_were_offered_if_the_named_one_is_not_there(
    home: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes ~/.ssh/id_ed25519, which ssh(1) does not offer then."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    usual = asyncssh.generate_private_key("ssh-ed25519")
    usual.write_private_key(str(home / "usual"))

    async def told(lines: str) -> str:
        return await told_by_a_server(home, NODE + lines, authorized=usual)

    (home / ".ssh").mkdir()
    (home / "usual").rename(home / ".ssh" / "id_ed25519")
    assert asyncio.run(told("")) == "reached\n"
    with pytest.raises(SshFailed, match="Permission denied"):
        asyncio.run(told(f"  {option}\n"))


@pytest.mark.parametrize(
    ("lines", "reached"),
    [
        ("  IdentityFile ~/.ssh/gone\n", True),
        ("  IdentityFile ~/.ssh/gone\n  IdentitiesOnly yes\n", False),
        ("  IdentityFile none\n  IdentitiesOnly yes\n", False),
        ("  IdentityFile ~/in-agent\n  IdentitiesOnly yes\n", True),
        ("  IdentityFile ~/in-agent.pub\n  IdentitiesOnly yes\n", True),
    ],
)
def test_the_agents_keys_are_offered_as_ssh_does_if_a_key_is_not_there(
    home: Path, agent: Agent, lines: str, reached: bool
) -> None:
    """With IdentitiesOnly all of the agent's were, or none, though the public half of the key is there."""
    key = asyncssh.read_public_key(f"{agent.key}.pub")
    try:
        found = asyncio.run(told_by_a_server(home, NODE + lines, authorized=key))
    except SshFailed as error:
        assert "Permission denied" in str(error)
        found = ""
    assert found == ("reached\n" if reached else "")


def test_keys_that_ssh_config_has_for_another_user_were_called_missing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Match user` and %r went by the user here, not by that of user@host."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    guests = "  IdentityFile ~/.ssh/good\nMatch user guest\n  IdentityFile ~/.ssh/of-%r\n"
    config = NODE + guests + f"Match user {getpass.getuser()}\n  IdentityFile ~/mine\n"
    with pytest.raises(SshFailed, match=r"; no such key: ~/\.ssh/of-guest$"):
        asyncio.run(told_by_a_server(home, config, authorized=False, host="guest@node"))


def test_the_known_hosts_of_another_user_counted(home: Path) -> None:
    """The lines about the host in the other user's file were not read."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    (home / "known").write_text(f"* {other}")
    config = "Match user guest\n  UserKnownHostsFile {home}/known\n" + NODE
    with pytest.raises(SshFailed, match="its host key is another one"):
        asyncio.run(told_by_a_server(home, config, authorized=True, host="guest@node"))


def test_what_match_exec_runs_was_run_once_more_for_each_host_that_refuses(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And in the event loop, so that all other hosts waited for it: to read the config, and to connect, is twice."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    config = "Match exec \"echo >> {home}/runs\"\n" + NODE + "  IdentityFile ~/.ssh/gone\n"
    with pytest.raises(SshFailed, match="no such key"):
        asyncio.run(told_by_a_server(home, config, authorized=False))
    assert (home / "runs").read_text() == "\n\n"


def test_a_command_that_ssh_config_runs_holds_up_no_other_host(home: Path) -> None:
    """All others waited for it, and --connect-timeout did not count."""
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").write_text(f'Match exec "sh {home}/waits"\n  Port 1\n')
    (home / "waits").write_text(f"timeout 20 sh -c 'until [ -e {home}/go ]; do sleep 0.02; done' || touch {home}/late")

    async def both() -> None:
        waiting = asyncio.ensure_future(open_channel("127.0.0.1", "true", Ways()))
        await asyncio.sleep(0)  # it has begun
        (home / "go").touch()
        with pytest.raises(SshFailed):
            await waiting

    asyncio.run(both())
    assert not (home / "late").exists()
