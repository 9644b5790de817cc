"""`gproc web`: what a program or a browser gets, and which users get nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from gproc.web.serving import CONNECTIONS_MAX, SILENT_MAX
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster
from tests.web.conftest import COPIED_BYTES, Serve, Site, stopped_copy


def asked(
    site: Site, path: str, *, token: str | None = None, data: object = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """token: instead of the site's; "" for none."""
    shown = site.token if token is None else token
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if shown:
        fields["authorization"] = f"Bearer {shown}"
    body = None if data is None else json.dumps(data).encode()
    if data is not None:
        fields.setdefault("content-type", "application/json")
    request = urllib.request.Request(site.origin + path, data=body, headers=fields)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def events(site: Site, path: str, until: str) -> list[tuple[str, Any]]:
    """The events of a stream, up to the first of that name."""
    request = urllib.request.Request(site.origin + path, headers={"authorization": f"Bearer {site.token}"})
    found: list[tuple[str, Any]] = []
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as stream:
        name = ""
        for line in stream:
            if line.startswith(b"event: "):
                name = line[7:].decode().strip()
            elif line.startswith(b"data: "):
                found.append((name, json.loads(line[6:])))
                if name == until:
                    return found
    raise AssertionError(f"no {until} in {found}")


def test_tree_and_jobs_are_json_with_a_version(tree: Cluster, serve: Serve) -> None:
    site = serve()
    assert tree.exec("1", "/bin/sh", "-c", "exit 3").returncode == 3
    status, body, _ = asked(site, "/api/v1/tree")
    found = json.loads(body)
    assert (status, found["version"], found["trouble"]) == (200, 1, "")
    assert {node["node"]: node["state"] for node in found["nodes"]} == tree.states()
    job = json.loads(asked(site, "/api/v1/jobs")[1])["jobs"][-1]
    assert (job["nodes"], job["state"], job["status"], job["command"]) == ("1", "ended", 3, "/bin/sh -c 'exit 3'")


def test_figures_are_what_prometheus_reads(tree: Cluster, serve: Serve) -> None:
    site = serve()
    status, body, headers = asked(site, "/metrics")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/plain")
    lines = body.decode().splitlines()
    assert "gproc_master_up 1.0" in lines
    assert f'gproc_nodes{{state="up"}} {float(len(tree.states()))}' in lines
    assert any(line.startswith('gproc_node_load1{host="') for line in lines)
    before = figures_of(body)
    assert tree.exec("1", "/bin/sh", "-c", "head -c 300000 /dev/zero").returncode == 0
    assert tree.exec("-localbin", "1", "/bin/true").returncode == 0
    assert tree.exec("-localbin", "99", "/bin/true").returncode == 125
    after = figures_of(asked(serve(), "/metrics")[1])
    grown = {name: after[name] - before[name] for name in before if "_total" in name or "_count" in name}
    assert grown["gproc_jobs_begun_total"] == 2
    assert grown["gproc_jobs_refused_total"] == 1
    assert grown["gproc_jobs_with_program_total"] == 1
    assert grown['gproc_bytes_total{direction="received",peer="node"}'] >= 300_000
    assert grown['gproc_bytes_total{direction="sent",peer="client"}'] >= 300_000
    assert after["gproc_transfer_seconds_count"] >= 1
    assert after["gproc_transfer_seconds_sum"] > 0
    assert after["gproc_faults_total"] == 0


def test_a_transfer_is_seen_while_it_runs_with_how_far_it_is(tree: Cluster, serve: Serve) -> None:
    site = serve()
    with stopped_copy(tree) as (copying, number):
        way = job_of(site, number)["transfer"]
        assert (way["kind"], way["nodes"]) == ("cp", 2) and way["total"] >= 2 * COPIED_BYTES
        assert 0 <= way["bytes"] < way["total"] and 0 <= way["complete"] < 2
        listed = {job["job"]: job for job in json.loads(tree.command("ps", "--json").stdout)}
        assert listed[number]["transfer"]["total"] == way["total"]
        assert figures_of(asked(site, "/metrics")[1])['gproc_transfers{kind="cp"}'] == 1
        copying.send_signal(signal.SIGCONT)
        assert tree.finish(copying)[0] == 0
    assert json.loads(tree.command("ps", "-a", "--json").stdout)[-1]["transfer"] is None


def job_of(site: Site, number: int) -> dict[str, Any]:
    found: dict[str, Any] = {job["job"]: job for job in json.loads(asked(site, "/api/v1/jobs")[1])["jobs"]}[number]
    return found


def figures_of(body: bytes) -> dict[str, float]:
    """The values by name and labels."""
    rows = (line.rpartition(" ") for line in body.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


def test_a_stream_says_everything_first_and_then_what_changes(tree: Cluster, serve: Serve) -> None:
    site = serve()
    request = urllib.request.Request(f"{site.origin}/api/v1/events", headers={"authorization": f"Bearer {site.token}"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as stream:
        names = iter(line for line in stream if line.startswith(b"data: "))
        assert json.loads(next(names)[6:]) == {"version": 1, "control": False}
        first = json.loads(next(names)[6:])
        assert {node["node"] for node in first["nodes"]} == set(tree.states())
        job = tree.exec("-d", "1", "/bin/sh", "-c", ": a-new-one; exec sleep 1000").stdout.split()[-1].decode()
        for line in names:
            row = json.loads(line[6:])
            if any("a-new-one" in job["command"] for job in row["jobs"]):
                break
        assert len(row["jobs"]) == 1, "only what has changed"
    assert tree.command("kill", job).returncode == 0


def test_the_output_of_a_job_is_followed_to_its_end(tree: Cluster, serve: Serve) -> None:
    site = serve()
    done = tree.exec("-d", "--spool", ".", "/bin/sh", "-c", "echo out; echo err >&2; exit 4")
    job = done.stdout.split()[-1].decode()
    found = [row for name, row in events(site, f"/api/v1/jobs/{job}/log", "end") if name == "output"]
    said = {(row["node"], row["stream"]): row["text"] for row in found if "text" in row}
    assert said == {(node, stream): f"{stream[3:]}\n" for node in "12" for stream in ("stdout", "stderr")}
    ended = {row["node"]: row["ended"] for row in found if "ended" in row}
    assert ended == dict.fromkeys("12", "exit status 4")
    assert events(site, "/api/v1/jobs/99999/log", "end")[0][0] == "trouble"


def test_nobody_gets_anything_without_the_token(serve: Serve) -> None:
    site = serve("--control")
    for path in ("/api/v1/tree", "/api/v1/jobs", "/api/v1/events", "/api/v1/jobs/1/log", "/metrics"):
        for wrong in ("", "x", site.token[:-1]):
            status, body, _ = asked(site, path, token=wrong)
            assert (status, b"token" in body) == (401, True), path
    assert asked(site, "/api/v1/jobs/1/kill", token="", data={})[0] == 401


def test_no_browser_tells_another_port_the_token(serve: Serve) -> None:
    """A cookie would go to every port of 127.0.0.1, also to another user's; what follows "#" goes nowhere."""
    site = serve()
    assert site.opening == f"{site.origin}/#token={site.token}"
    for path in ("/", "/page.js", "/page.css", "/icon.svg"):
        status, body, headers = asked(site, path, token="")
        assert (status, site.token.encode() in body) == (200, False), path
        assert "set-cookie" not in {name.lower() for name in headers}
    headers = {name.lower(): value for name, value in asked(site, "/", token="")[2].items()}
    assert "unsafe-inline" not in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert asked(site, "/api/v1/tree", token="", cookie=f"gproc-web={site.token}")[0] == 401
    assert asked(site, f"/api/v1/tree?token={site.token}", token="")[0] == 401


def test_jobs_are_ended_only_if_asked_for_and_only_from_the_page(tree: Cluster, serve: Serve) -> None:
    job = tree.exec("-d", "1", "/bin/sleep", "1000").stdout.split()[-1].decode()
    path = f"/api/v1/jobs/{job}/kill"
    assert asked(serve(), path, data={})[0] == 403
    site = serve("--control")
    assert asked(site, path, data={}, origin="http://elsewhere.example")[0] == 403
    assert asked(site, path, data={}, content_type="text/plain")[0] == 403
    assert asked(site, path, data={"signal": 99})[0] == 400
    assert asked(site, path, data={"other": 1})[0] == 400
    assert asked(site, path, data={"signal": "x" * 5000})[0] == 413
    assert asked(site, "/api/v1/jobs/99999/kill", data={})[0] == 409
    assert asked(site, path, data={"signal": 9})[0] == 200
    assert tree.command("wait", job).returncode == 128 + signal.SIGKILL


def test_a_request_whose_client_leaves_in_the_middle_is_no_fault_of_ours(serve: Serve, tmp_path: Path) -> None:
    """Each left a traceback on stderr."""
    with (tmp_path / "said").open("wb") as said:
        site = serve("--control", stderr=said)
    head = (
        f"POST /api/v1/jobs/1/kill HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {site.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(site.origin.rpartition(":")[2]))) as client:
        client.sendall(head.encode() + b"{}")
        client.shutdown(socket.SHUT_WR)
        client.settimeout(PATIENCE_S)
        client.recv(1)
    assert asked(site, "/api/v1/tree")[0] == 200
    assert (tmp_path / "said").read_bytes() == b""


def test_a_master_that_is_gone_is_said_and_found_again(place: Path, serve: Serve) -> None:
    late = Cluster(place / "late")
    site = serve("--socket", str(late.socket))
    found = json.loads(asked(site, "/api/v1/tree")[1])
    assert found["nodes"] == []
    assert str(late.socket) in found["trouble"]
    assert b"gproc_master_up 0.0" in asked(site, "/metrics")[1]
    late.start_master()
    try:
        deadline_s = time.monotonic() + PATIENCE_S
        while json.loads(asked(site, "/api/v1/tree")[1])["trouble"]:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    finally:
        late.stop()


def test_a_unix_socket_is_its_owners_alone_and_needs_no_token(place: Path, serve: Serve) -> None:
    path = place / "web"
    site = serve("--listen", str(path))
    assert site.origin == f"serving at {path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /api/v1/tree HTTP/1.0\r\n\r\n")
        assert client.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
    for host, status in [("localhost:8642", 200), ("[::1]:8642", 200), ("127.0.0.1", 200), ("evil.example:8642", 401)]:
        assert asked_at(path, host) == status, "a name that leads to 127.0.0.1 makes another's page ours"
    site.process.send_signal(signal.SIGINT)
    assert site.process.wait(PATIENCE_S) == 0
    assert not path.exists()


def asked_at(path: Path, host: str) -> int:
    """The status of a question on a Unix socket that names this host."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    connection.request("GET", "/api/v1/tree", headers={"host": host})
    with contextlib.closing(connection):
        return connection.getresponse().status


def test_elsewhere_than_on_loopback_it_is_by_tls_with_the_clusters_certificate(tree: Cluster, serve: Serve) -> None:
    site = serve("--listen", "0.0.0.0:0")
    assert site.origin.startswith(f"https://{socket.gethostname()}:"), "an address that can be opened"
    assert asked_by_tls(tree, site) == 200


def test_handshakes_that_do_not_go_on_kept_their_connections_for_a_minute(tree: Cluster, serve: Serve) -> None:
    """As many connections as there are descriptors kept all others out."""
    site = serve("--listen", "0.0.0.0:0")
    port = int(site.origin.rpartition(":")[2])
    with contextlib.ExitStack() as silent:
        for _ in range(CONNECTIONS_MAX + 44):
            silent.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert asked_by_tls(tree, site) == 200
        assert len(os.listdir(f"/proc/{site.process.pid}/fd")) < SILENT_MAX + 50


def test_connections_of_somebody_without_a_token_kept_the_user_out(tree: Cluster, serve: Serve) -> None:
    """They had an answer and stayed: for half a minute all others were told that there are too many."""
    site = serve("--listen", "0.0.0.0:0")
    port = int(site.origin.rpartition(":")[2])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    with contextlib.ExitStack() as staying:
        for _ in range(CONNECTIONS_MAX + 44):
            plain = socket.create_connection(("127.0.0.1", port))
            one = staying.enter_context(context.wrap_socket(plain))
            one.sendall(request)
            assert one.recv(12).startswith(b"HTTP/1.1 ")
        assert asked_by_tls(tree, site) == 200


def asked_by_tls(tree: Cluster, site: Site) -> int:
    host = socket.gethostname()
    context = ssl.create_default_context(cafile=str(Path(tree.env["GPROC_HOME"]) / "ca.crt"))
    context.check_hostname = False
    request = urllib.request.Request(
        site.origin.replace(host, "127.0.0.1") + "/api/v1/tree", headers={"authorization": f"Bearer {site.token}"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S, context=context) as answer:
        return int(answer.status)


def test_a_token_in_a_file_stays_and_is_the_users_secret(place: Path, serve: Serve, tree: Cluster) -> None:
    path = place / "token"
    serve("--token-file", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = path.read_text().strip()
    again = serve("--token-file", str(path))
    assert token not in again.opening  # a service's journal is read by others
    assert f"with the token in {path}" in again.opening
    assert asked(again, "/api/v1/tree", token=token)[0] == 200
    path.chmod(0o644)
    done = tree_command(tree, "--token-file", str(path))
    assert done.returncode == 125
    assert str(path) in done.stderr


@pytest.mark.parametrize("listen", ["nonsense", "1.2.3.4:99999", "[::1", "[::1]:x"])
def test_an_address_that_is_none_is_refused(tree: Cluster, listen: str) -> None:
    done = tree_command(tree, "--listen", listen)
    assert (done.returncode, listen in done.stderr) == (2, True)


def test_a_port_that_is_taken_is_named(tree: Cluster, serve: Serve) -> None:
    taken = serve().origin.removeprefix("http://")
    done = tree_command(tree, "--listen", taken)
    assert (done.returncode, done.stderr) == (125, f"gproc: cannot listen at {taken}: Address already in use\n")


def test_debug_says_where_it_listens_and_whom_it_asks(place: Path, tree: Cluster) -> None:
    words = ["-debug=3", "--listen", f"{place}/web", "--socket", str(tree.socket)]
    process = subprocess.Popen(
        [sys.executable, "-m", "gproc", "web", *words], text=True, env={**os.environ, **tree.env},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == f"serving at {place}/web\n"
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 0
    assert f"listens at {place}/web, and asks the master at {tree.socket}" in said


def tree_command(tree: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gproc", "web", "--socket", str(tree.socket), *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **tree.env}, timeout=PATIENCE_S)


def test_connections_that_ask_for_nothing_keep_nobody_out(serve: Serve) -> None:
    """256 of them, of any local user, did, for as long as they liked."""
    site = serve()
    host, _, port = site.origin.removeprefix("http://").partition(":")
    with contextlib.ExitStack() as silent:
        for _ in range(CONNECTIONS_MAX + 20):
            silent.enter_context(socket.create_connection((host, int(port))))
        assert asked(site, "/")[0] == 200
    with contextlib.ExitStack() as silent:  # they ask once, and then for half a thing
        for _ in range(CONNECTIONS_MAX + 20):
            half = silent.enter_context(socket.create_connection((host, int(port))))
            half.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert half.recv(100)
            half.sendall(b"G")
        assert asked(site, "/")[0] == 200


def test_connections_that_read_nothing_and_those_that_speak_no_http_leave_no_line(serve: Serve) -> None:
    """What they were told, and how they ended, with a traceback each, stood on stderr: of any local user."""
    with tempfile.TemporaryFile() as said:
        site = serve(stderr=said)
        host, _, port = site.origin.removeprefix("http://").partition(":")
        with contextlib.ExitStack() as unread:
            for _ in range(5):
                one = unread.enter_context(socket.create_connection((host, int(port))))
                one.sendall(b"GET /page.js HTTP/1.1\r\nHost: x\r\n\r\n" * 400)  # 6 MB: more than the kernel keeps
                assert one.recv(1)
            assert asked(site, "/")[0] == 200
            unread.enter_context(socket.create_connection((host, int(port)))).sendall(b"no HTTP\r\n\r\n")
            assert asked(site, "/")[0] == 200
            site.process.terminate()
            assert site.process.wait(PATIENCE_S) == 0
        said.seek(0)
        assert said.read() == b""


def test_a_command_that_is_no_text_breaks_nobodys_page(tree: Cluster, serve: Serve) -> None:
    """One job with a byte that is not UTF-8 ended the page and its API for all users, as long as its record was
    kept."""
    assert tree.exec("-localbin", "1", "/bin/echo", b"a\xff\x1b[31m\nb").returncode == 0  # type: ignore[arg-type]
    site = serve()
    rows = json.loads(asked(site, "/api/v1/jobs")[1])["jobs"]
    said = [row["command"] for row in rows if "echo" in row["command"]]
    assert said[-1:] == ["/bin/echo 'a\\xff\\x1b[31m\\nb'"]
    assert events(site, "/api/v1/events", "change")[-1][0] == "change"
    assert b"'a\\xff\\x1b[31m\\nb'" in tree.command("ps", "-a").stdout
