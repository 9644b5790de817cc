"""A poll driver for any number of threads: one of them moves the bytes of all, and the others wait.

It starts no thread.  A thread that waits for something moves the bytes of all jobs meanwhile, if no other thread does.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from gproc.client.driver import PollDriver
from gproc.client.session import ClientSession, SessionEvent
from gproc.errors import GprocError, LinkLost

T = TypeVar("T")


class Engine:
    """handle: the thread that moves the bytes calls it for each event of the session, with the lock held."""

    def __init__(self, socket_path: str, handle: Callable[[SessionEvent], None]) -> None:
        """Raises: NoMaster, TrustError."""
        self.driver = PollDriver(socket_path)
        self._handle = handle
        self._changed = threading.Condition()
        self._moving = False
        self._closed = False
        self._failure: GprocError | None = None
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._free = weakref.finalize(self, os.close, self._wake)
        """Closes it even if the program does not close the connection.  At exit the kernel closes it, because other
        threads may need it until then."""
        self._free.atexit = False

    @property
    def is_inherited(self) -> bool:
        """As of `Connection`."""
        return self.driver.connection.is_inherited

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, as far as a thread that moves bytes has noticed."""
        return self._closed or self._failure is not None

    def call(self, action: Callable[[ClientSession], T]) -> T:
        """Call `action` with the session, and send the bytes that it makes.

        Raises: LinkLost if the master is gone; UsageError in a forked process.
        """
        self.driver.connection.check_process()  # before the lock, which a thread that was not forked may have
        with self._changed:
            self._check()
            result = action(self.driver.session)
            self._flush()
            if self._moving:
                os.eventfd_write(self._wake, 1)
            return result

    def wait_until(self, ready: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait until `ready()`.  Returns False if the time is up first.

        timeout_s: None: without end; 0: only handle what has come.

        Raises: LinkLost, PeerError if the master is gone before; UsageError in a forked process.
        """
        self.driver.connection.check_process()
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            polled = False
            while not ready():
                self._check()
                left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
                if left_s == 0.0 and polled:
                    return False
                if self._moving:
                    self._changed.wait(left_s)
                    polled = True
                else:
                    self._move(left_s)
                    polled = True
            return True

    def close(self) -> None:
        """Close the connection.  Threads that wait get LinkLost.  In a forked process the parent's goes on."""
        if self.is_inherited:
            self.driver.close()
            return
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._fail(LinkLost("the connection was closed"))
            self.driver.close()
            if self._moving:
                os.eventfd_write(self._wake, 1)
            else:
                self._free()
            self._changed.notify_all()

    def _move(self, timeout_s: float | None) -> None:
        """Wait for bytes without the lock, and handle their events with it."""
        self._moving = True
        try:
            poller = self.driver.poller((self._wake,))
            self._changed.release()
            try:
                found = poller.poll(self.driver.poll_ms(timeout_s))
            finally:
                self._changed.acquire()
            if self._closed:
                return
            if self._wake in self.driver.note(found):
                os.eventfd_read(self._wake)
            for event in self.driver.events():
                self._handle(event)
        except GprocError as error:
            self._fail(error)
        finally:
            self._moving = False
            if self._closed:
                self._free()
            self._changed.notify_all()

    def _flush(self) -> None:
        try:
            self.driver.connection.flush()
        except GprocError as error:
            self._fail(error)
            raise

    def _fail(self, error: GprocError) -> None:
        if self._failure is None:
            self._failure = error

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
