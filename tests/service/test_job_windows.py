"""The windows of all jobs of a user fit the user's part of the master's memory."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.nodespec import Place
from gproc.request.spec import Request
from gproc.service.accounts import Accounts, Bounds, OverBound
from gproc.service.job_windows import LEAST_WINDOW_BYTES, SPOOL_WINDOW_BYTES, JobShape, shape_of, window_of
from gproc.wire.frames import CLIENT_WINDOW_BYTES

ONE_NODE = JobShape(children=1, hops=1, streams=2, has_input=True)
FLAT_80 = JobShape(children=80, hops=1, streams=2, has_input=True)


def test_a_shape_is_that_of_the_ways_of_the_job() -> None:
    places = [Place((1,)), Place((1, 7)), Place((1, 8)), Place((3,))]
    plain = Request(nodes=".", argv=(b"x",))
    assert shape_of(plain, places, is_detached=False) == JobShape(2, 2, 2, False)
    asked = Request(nodes=".", argv=(b"x",), stdin=True, collect=(b"*",))
    assert shape_of(asked, places, is_detached=True) == JobShape(2, 2, 3, True, is_detached=True)


def test_a_user_with_few_jobs_has_whole_windows() -> None:
    account = Accounts(Bounds(), ()).open(1)
    assert [account.hold_window(ONE_NODE).window_bytes for _ in range(5)] == [CLIENT_WINDOW_BYTES] * 5


@pytest.mark.parametrize(("shape", "jobs"), [(ONE_NODE, 1_000), (FLAT_80, 50)])
def test_a_user_may_have_many_jobs_and_their_windows_grow_smaller(shape: JobShape, jobs: int) -> None:
    """150 jobs whose output nobody read took 595 MB of the master."""
    accounts = Accounts(Bounds(), ())
    account = accounts.open(1)
    windows = [account.hold_window(shape) for _ in range(jobs)]
    sizes = [window.window_bytes for window in windows]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == LEAST_WINDOW_BYTES
    assert account.held_bytes <= accounts.bounds.each_bytes
    for window in windows:
        account.free(window.held_bytes)
    assert (account.held_bytes, accounts.held_bytes) == (0, 0)


def test_a_job_that_fits_no_more_is_refused_and_nothing_of_it_is_held() -> None:
    accounts = Accounts(Bounds(), ())
    account, other = accounts.open(1), accounts.open(2)
    for _ in itertools.count():
        held_bytes = account.held_bytes
        try:
            account.hold_window(FLAT_80)
        except OverBound as error:
            assert "wait until some of them have ended" in str(error)
            break
    assert account.held_bytes == held_bytes
    assert other.hold_window(ONE_NODE).window_bytes == CLIENT_WINDOW_BYTES


def test_a_user_that_the_master_trusts_has_whole_windows_always() -> None:
    account = Accounts(Bounds(), {0}).open(0)
    for _ in range(1000):
        assert account.hold_window(ONE_NODE) == (CLIENT_WINDOW_BYTES, 0)


def test_a_detached_job_has_no_larger_window_than_its_spool() -> None:
    assert window_of(ONE_NODE._replace(is_detached=True)).window_bytes == SPOOL_WINDOW_BYTES


shapes = st.builds(JobShape, st.integers(1, 200), st.integers(1, 8), st.sampled_from([2, 3]), st.booleans())


@given(st.lists(st.tuples(st.integers(1, 6), shapes), max_size=80))
def test_windows_are_within_the_bounds_whatever_users_run(begun: list[tuple[int, JobShape]]) -> None:
    bounds = Bounds(each_bytes=16 << 20, all_bytes=40 << 20)
    accounts = Accounts(bounds, ())
    for uid, shape in begun:
        account = accounts.open(uid)
        with contextlib.suppress(OverBound):
            window = account.hold_window(shape)
            assert LEAST_WINDOW_BYTES <= window.window_bytes <= CLIENT_WINDOW_BYTES
            assert window.held_bytes == shape.held_bytes(window.window_bytes)
        assert account.held_bytes <= bounds.each_bytes
        assert accounts.held_bytes <= bounds.all_bytes
