"""`gproc s`: runs a slave until its parent, or Ctrl-C, ends it."""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING

from gproc.cli.node_options import DEFAULT_BIN_ROOT, DEFAULT_CMD_PORT
from gproc.cli.options import SlaveOptions
from gproc.descriptors import allow_all
from gproc.errors import GprocError
from gproc.launch.launcher import Launcher
from gproc.readiness import ServiceManager, end_undisturbed

if TYPE_CHECKING:
    from collections.abc import Callable

    from gproc.locales import Placement
    from gproc.relay.children import Children
    from gproc.slave import Slave
    from gproc.trust.identity import Identity


log = logging.getLogger("gproc")


def run(options: SlaveOptions) -> int:
    # This comes first, before anything large is imported: the launcher's memory is copied for each job.
    manager = ServiceManager.taken_from(os.environ)
    allow_all()
    launcher = Launcher.for_this_node(private=options.private, native=os.environ.get("GPROC_INIT") != "python")
    try:
        return _run(options, launcher, manager)
    finally:
        launcher.close()


def _run(options: SlaveOptions, launcher: Launcher, manager: ServiceManager) -> int:
    import socket

    from gproc.addresses import own_addresses
    from gproc.cli.log import start_log
    from gproc.locales import Options, Role, load
    from gproc.trust.home import gproc_home
    from gproc.trust.identity import load_identity

    start_log(options.debug, "slave" if options.log_json else "")
    if launcher.python_because:
        log.info("jobs are started by Python, not by gproc's static helper: %s", launcher.python_because)
    name = socket.gethostname()
    said = Options(
        parent=_evaluated(options.parent, name),
        id=_evaluated(options.id, name),
        address=_evaluated(options.address, name),
        cmd_port=options.cmd_port or DEFAULT_CMD_PORT,
    )
    placement = load(options.locale).place(Role.SLAVE, name, said)
    dialled = placement.parent
    assert dialled is not None, "a locale gives every slave a parent"
    log.debug(
        "locale %s: id %s, address %s, parent %s:%d",
        options.locale, placement.id or "as the parent says", placement.address, dialled.host, dialled.port,
    )  # fmt: skip
    identity = load_identity(gproc_home(os.environ), "node", name, own_addresses(name, placement.address))
    log.debug("this host is %s of cluster %s", identity.name, identity.cluster)
    serve(options, launcher, placement, identity, manager=manager)
    return 0


def serve(
    options: SlaveOptions,
    launcher: Launcher,
    placement: Placement,
    identity: Identity,
    joined: Callable[[Slave], None] | None = None,
    manager: ServiceManager | None = None,
    joining: Callable[[], None] = lambda: None,
) -> None:
    """Run the slave until its end.  joined: called each time that it has joined its parent; else manager is told.

    joining: called once, before it begins to dial.
    """
    import asyncio

    from gproc.addresses import answers_for, listening_address
    from gproc.collecting import collect_from_now_on
    from gproc.link.shares import warn_if_few
    from gproc.locales import load
    from gproc.node.succeeding import following_of
    from gproc.policy.warden import Warden
    from gproc.relay.belonging import Belonging, placed_by
    from gproc.relay.parent import Dialer
    from gproc.root.binroot import claim_usual
    from gproc.root.planner import Planner
    from gproc.slave import Slave
    from gproc.store.opening import default_base, open_store
    from gproc.store.room import quota
    from gproc.trust import tls
    from gproc.trust.endpoint import Endpoint

    collect_from_now_on()
    warn_if_few()
    dialled = placement.parent
    assert dialled is not None, "a locale gives every slave a parent"
    told = manager or ServiceManager()
    placed = placed_by(load(options.locale), options.cmd_port or DEFAULT_CMD_PORT)
    warden = Warden("slave")
    limits = warden.limits()
    of_user = quota(limits.user_store_mib, limits.user_store_files)
    store = open_store(options.store or default_base(os.environ), options.store_bytes, of_user)
    log.debug("store %s", os.fsdecode(store.place))
    log.debug("a link is lost after %g s", options.link_timeout_s)
    bin_root = claim_usual(os.fsencode(options.bin_root), os.fsencode(DEFAULT_BIN_ROOT))
    log.debug("jobs find their bundles at %s", os.fsdecode(bin_root.path))

    async def run_slave() -> None:
        expected = tls.ExpectedParent(dialled.host, dialled.name, dialled.is_master)
        endpoint = Endpoint(identity, following_of(identity))
        slave = Slave(
            endpoint=endpoint,
            dialer=Dialer(endpoint, expected, dialled.port, options.link_timeout_s),
            store=store,
            launcher=launcher,
            planner=Planner(launcher.abilities, bin_root.path, bin_root.hold),
            belonging=Belonging(identity.name, False, placed),
            id=placement.id,
            address=placement.address,
            link_timeout_s=options.link_timeout_s,
            warden=warden,
            exit_after_s=options.exit_after_s,
            joined=joined or (lambda slave: told.ready(slave.status())),
        )
        local = listening_address(placement.address or dialled.host)
        parents = dialled.port if answers_for(local, dialled.host) else 0
        listen(slave.children, local, options.cmd_port, parents=parents)
        warden.announce()
        slave.stopped.add_done_callback(lambda _: told.stopping())
        telling = asyncio.create_task(told.keep_telling(slave.status))
        joining()
        await slave.run()
        await slave.heard_out()
        telling.cancel()
        end_undisturbed()

    try:
        asyncio.run(run_slave())
    finally:
        bin_root.release()


def listen(children: Children, host: str, port: int, *, parents: int = 0) -> None:
    """Open the command port.  If the usual one is taken, for example by another slave, open any free one.

    parents: the port of the parent, if that listens at the same address, else 0.  It is the parent's also while no
    process listens there: otherwise a slave that is started before its master would answer its own calls, and keep the
    master out.
    """
    is_parents = bool(port) and port == parents
    try:
        try:
            children.listen(host, 0 if is_parents and port == DEFAULT_CMD_PORT else port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port != DEFAULT_CMD_PORT:
                raise
            children.listen(host, 0)
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # the error's own text names the port a second time
        raise GprocError(f"cannot listen on port {port}: {reason}; choose another with --cmd-port") from error
    if is_parents and port != DEFAULT_CMD_PORT:
        raise GprocError(f"port {port} is that of the parent on this machine: choose another with --cmd-port")


def _evaluated(expression: str | None, hostname: str) -> str | None:
    if expression is None:
        return None
    from gproc.locales.postfix import evaluate

    return evaluate(expression, hostname)
