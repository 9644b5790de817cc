"""A whole list of tasks, as the master gets it that hands it out.  Pure."""

from __future__ import annotations

from gproc.errors import UsageError
from gproc.request.template import COMMAND_BYTES_MAX, CommandTooLong, Template
from gproc.wire.task_messages import LIST_BYTES_MAX, LIST_TASKS_MAX
from gproc.wire.tasks import listed_record


class WholeList:
    """noun: what an entry is called."""

    def __init__(self, template: Template, noun: str = "task") -> None:
        self._template = template
        self._noun = noun
        self._records: list[bytes] = []
        self._size_bytes = 0

    def add(self, line: int, values: tuple[bytes, ...]) -> None:
        """line: where it stands in the list.  Raises: UsageError if the master would not take it."""
        try:
            self._template.check(values)
        except CommandTooLong as error:
            most = f"{COMMAND_BYTES_MAX >> 20} MiB, the most that a program can have"
            raise UsageError(f"{self._noun} {line} of the list: its command would be longer than {most}") from error
        record = listed_record(line, values)
        self._size_bytes += len(record)
        self._records.append(record)
        if len(self._records) > LIST_TASKS_MAX or self._size_bytes > LIST_BYTES_MAX:
            raise UsageError(
                f"the list is longer than the master keeps for a job that goes on without its client: at most "
                f"{LIST_TASKS_MAX:,} tasks and {LIST_BYTES_MAX >> 20} MiB; nothing was run: cut it into several, or "
                "leave out --detach"
            )

    def data(self) -> bytes:
        """The list as it is sent."""
        return b"".join(self._records)
