"""`gproc m`: runs the master in the foreground, until Ctrl-C."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from typing import Final

from gproc.addresses import listening_address, own_addresses
from gproc.cli.log import start_log
from gproc.cli.node_options import DEFAULT_CMD_PORT
from gproc.cli.options import MasterOptions
from gproc.descriptors import allow_all
from gproc.errors import GprocError, UsageError
from gproc.link.shares import warn_if_few
from gproc.locales import Options, Role, check_address, load
from gproc.master import Master
from gproc.policy.warden import Warden
from gproc.readiness import ServiceManager, end_undisturbed
from gproc.records.place import open_state, state_base
from gproc.records.session import MasterSession
from gproc.records.spooling import Spools
from gproc.relay.belonging import Belonging, placed_by
from gproc.service.book import JobBook, open_records
from gproc.service.draining import Draining
from gproc.start.slurm import SLURM, allocation_ended
from gproc.store.opening import default_base, open_store
from gproc.store.room import quota
from gproc.store.store import Store
from gproc.trust.authority import Authority, has_authority, open_authority
from gproc.trust.endpoint import Endpoint
from gproc.trust.home import gproc_home
from gproc.trust.identity import Identity, load_identity
from gproc.trust.signing import Signer

log = logging.getLogger("gproc")

LEAST_LEASE_S: Final = 4.0
"""A node asks for a lease four times as often, and a tree may take a second for each."""


def run(options: MasterOptions) -> int:
    manager = ServiceManager.taken_from(os.environ)
    start_log(options.debug, "master" if options.log_json else "")
    if options.orphan_timeout_s < LEAST_LEASE_S:
        raise UsageError(f"--orphan-timeout is at least {LEAST_LEASE_S:.0f} s: a busy node needs as long to answer")
    allow_all()
    warn_if_few()
    name = socket.gethostname()
    locale = load(options.locale)
    placement = locale.place(Role.MASTER, name, Options(cmd_port=options.cmd_port or DEFAULT_CMD_PORT))
    check_address(options.address or "")
    address = options.address or placement.address
    log.debug("locale %s: this master's address is %s", options.locale, address)
    home = gproc_home(os.environ)
    is_new = not has_authority(home)
    authority = open_authority(home, create=True)
    if is_new:
        log.info("made the keys of a new cluster in %s", home)
    identity = load_identity(home, "master", name, own_addresses(name, address))
    # Made here, so that slaves of this machine need not make it: the libraries for that would stay in their memory.
    load_identity(home, "node", name, own_addresses(name, address))
    log.debug("cluster %s, keys in %s", authority.cluster, home)
    warden = Warden("master")
    limits = warden.limits()
    of_user = quota(limits.user_store_mib, limits.user_store_files)
    store = open_store(options.store or default_base(os.environ), options.store_bytes, of_user)
    log.debug("store %s", os.fsdecode(store.place))
    place, _state_lock = open_state(options.state or state_base(os.environ))
    log.debug("job records in %s", place)
    session = MasterSession(place, authority.cluster)
    book, spools = open_records(place, limits, goes_on=session.found)
    draining = Draining(os.path.join(place, "drained.json"))
    log.debug("a link is lost after %g s", options.link_timeout_s)
    placed = placed_by(locale, options.cmd_port or DEFAULT_CMD_PORT)
    belonging = Belonging(identity.name, True, placed, getattr(locale, "groups", {}))

    def reissue() -> Identity:
        load_identity(home, "node", name, own_addresses(name, address))
        return load_identity(home, "master", name, own_addresses(name, address))

    asyncio.run(
        _serve(options, address, authority, reissue, store, belonging, warden, book, spools, session, draining, manager)
    )
    return 0


async def _serve(
    options: MasterOptions, address: str, authority: Authority, reissue: Callable[[], Identity], store: Store,
    belonging: Belonging, warden: Warden, book: JobBook, spools: Spools, session: MasterSession,
    draining: Draining, manager: ServiceManager,
) -> None:  # fmt: skip
    endpoint = Endpoint(reissue())
    master = Master(
        authority=authority,
        endpoint=endpoint,
        reissue=reissue,
        signer=Signer(authority.ticket_seed()),
        store=store,
        belonging=belonging,
        link_timeout_s=options.link_timeout_s,
        lease_s=options.orphan_timeout_s,
        warden=warden,
        book=book,
        spools=spools,
        draining=draining,
        session=session,
    )
    master.end_on_signals()
    master.go_on()
    try:
        _listen(master, listening_address(address), options.cmd_port)
        sockets = await master.clients.listen(options.socket)
    except GprocError:
        session.undo()
        raise
    log.info(
        "master on %s, port %d, commands at %s", endpoint.identity.name, master.children.port, " and ".join(sockets)
    )
    warden.announce()
    if listening_address(address):
        remedy = "for others say -locale or -myAddress"
        log.info("it listens at %s, so only slaves of this machine can join; %s", address, remedy)
    manager.ready(master.status())
    master.stopped.add_done_callback(lambda _: manager.stopping())
    tasks = [asyncio.create_task(manager.keep_telling(master.status))]
    if options.locale == SLURM:
        tasks.append(asyncio.create_task(_end_with_allocation(master)))
    await master.run()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    end_undisturbed()


def _listen(master: Master, host: str, port: int) -> None:
    """Raises: GprocError."""
    try:
        master.children.listen(host, port)
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # the error's own text names the port a second time
        remedy = "choose another with --cmd-port"
        if error.errno == errno.EADDRINUSE:
            remedy = f"does another master run on this machine? Stop it, or {remedy}"
        raise GprocError(f"cannot listen on port {port}: {reason}; {remedy}") from error


async def _end_with_allocation(master: Master) -> None:
    await allocation_ended(os.environ)
    log.info("the allocation of Slurm has ended")
    master.end()
