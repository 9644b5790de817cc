"""Asks the master one question over a connection of its own, and waits for the answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gproc.client.driver import PollDriver
from gproc.client.session import Answered, ClientSession, Refusal
from gproc.client.session_job import SessionJob
from gproc.errors import LinkLost, MasterSilent
from gproc.wire.job_messages import JobAnswer, JobList

OLDER: Final = "if it is of an older release than this command, it knows no such question"


def answer_to(
    socket_path: str, question: Callable[[ClientSession], int], timeout_s: float | None = None, *, waits: bool = True
) -> JobAnswer:
    """Ask, and wait for the answer.  question: returns the serial number of the `Answered`.

    waits: as for `Connection`.

    Raises: GprocError; JobRejected if the master refuses; MasterSilent if it says nothing for timeout_s.
    """
    driver = PollDriver(socket_path, waits=waits)
    try:
        serial = question(driver.session)
        while True:
            before_s = time.monotonic()
            driver.wait(timeout_s=timeout_s)
            if timeout_s is not None and time.monotonic() - before_s >= timeout_s:
                raise driver.connection.silence(timeout_s)
            for event in driver.events():
                if isinstance(event, Refusal) and event.serial == serial:
                    raise event.error
                if isinstance(event, Answered) and event.serial == serial:
                    return event.answer
    except MasterSilent:
        raise
    except LinkLost as error:
        raise LinkLost(f"{error}; {OLDER}") from error
    finally:
        driver.close()


def job_list(socket_path: str, *, ended: bool, timeout_s: float | None = None, waits: bool = True) -> JobList:
    """The jobs of this user, as the master knows them.  Raises: GprocError; LinkLost as `answer_to`."""
    answer = answer_to(socket_path, lambda session: session.list_jobs(ended=ended), timeout_s, waits=waits)
    assert isinstance(answer, JobList)
    return answer


@contextmanager
def explained(job: SessionJob) -> Iterator[None]:
    """In the block, say what an end of the connection before any answer may mean."""
    try:
        yield
    except MasterSilent:
        raise
    except LinkLost as error:
        if job.number is not None:
            raise
        raise LinkLost(f"{error}; {OLDER}") from error
