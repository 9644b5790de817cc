"""Write docs/wire.md from the types of the wire: `make docs`."""

from __future__ import annotations

import inspect
import re
import types
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from gproc.client.silence import HELLO_S
from gproc.link import connection
from gproc.link.transport import HANDSHAKE_S
from gproc.request import outcome, spec
from gproc.request.limits import Limits
from gproc.wire import credit, directions, frames, job_messages, messages, proofs, stacks, tags, task_messages, tasks
from gproc.wire.branch import NUMBER_MAX, Branch
from gproc.wire.directions import DIRECTIONS, Direction
from gproc.wire.offer import MergeOffer
from gproc.wire.tree_rows import MasterCounts, NodeDrained

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "wire.md"

TALKS: Final[tuple[tuple[Direction[Any], str, str], ...]] = (
    (directions.CLIENT_TO_MASTER, "Client to master", "CLIENT channel, the master's Unix socket, at any time."),
    (directions.MASTER_TO_CLIENT, "Master to client", "CLIENT channel, after the client's first message."),
    (
        directions.OPENING,
        "Opening",
        "The first message of a node that dials a command port: Join on a CONTROL channel, Attach on a BULK channel, "
        "PeerHello on a PEER channel, each exactly once.",
    ),
    (
        directions.JOIN_ANSWER,
        "Answer to Join",
        "CONTROL channel, parent to child, exactly one. After RefuseJoin the parent closes the connection.",
    ),
    (
        directions.PARENT_TO_CHILD,
        "Parent to child",
        "CONTROL channel, after Welcome. The BULK channel carries CHUNK frames and Unavailable.",
    ),
    (
        directions.CHILD_TO_PARENT,
        "Child to parent",
        "CONTROL channel, after Welcome; Want goes by the BULK channel, and by it alone.",
    ),
    (
        directions.PEER_TO_PEER,
        "Peer to peer",
        "PEER channel, after PeerHello: the node that dialled sends Want, the other one PeerReady, Unavailable and "
        "CHUNK frames.",
    ),
)
"""Every direction, its title, and when its messages may be sent."""

VALUES: Final = (
    messages.NodeInfo, proofs.KeyProof, Branch, messages.Signed, messages.Peer, MergeOffer,
    messages.NodeState, NodeDrained, messages.AbsentNode, MasterCounts,
    job_messages.JobRow, job_messages.JobTransfer, job_messages.Keep, job_messages.FaultRow, task_messages.TaskListing,
    stacks.StackRow, stacks.StackRemark, spec.Request, spec.BundleName, spec.TerminalSize,
    Limits, outcome.Returned,
    outcome.Signalled, outcome.TimedOut, outcome.Killed, outcome.Lost, outcome.Refused, outcome.NotStarted,
)  # fmt: skip
"""The types of fields that are arrays themselves."""

TASKS: Final = (
    tasks.Setup, tasks.Assign, tasks.Recall, tasks.TaskOrder, tasks.TasksReady, tasks.TaskSaid, tasks.TaskEnded,
    tasks.TasksReturned,
)  # fmt: skip
"""What each stream of a job of tasks contains."""

_NO_INPUT: Final = frames.InputBlock(0, bytes(frames.SIGNATURE_BYTES), b"")
_EMPTY: Final = frames.Piece(bytes(spec.DIGEST_BYTES), 0, 0, frames.CODEC_RAW, b"")

HEAD: Final = f"""# What gproc's processes say to each other

This page is made from the types in `gproc/wire`, `gproc/request` and `gproc/link` by `make docs`; a test fails if it
is not what they say. Change the types, not the page.

## Connections

| Channel | Number | Between | Over |
| --- | --- | --- | --- |
| CONTROL | {frames.CHANNEL_CONTROL} | parent and child: messages and output | mutual TLS 1.3 |
| BULK | {frames.CHANNEL_BULK} | parent and child: chunks of bundles | mutual TLS 1.3 |
| CLIENT | {frames.CHANNEL_CLIENT} | client and master | the master's Unix socket |
| PEER | {frames.CHANNEL_PEER} | two children of one parent: chunks of bundles | mutual TLS 1.3 |

Both sides begin with a preface of {frames.PREFACE_BYTES} bytes: `{frames.MAGIC.decode()}`, the version (u16) and the
channel (u8). The side that was dialled answers with the channel that the other one opened. All numbers are big-endian.
A master sends its preface to a client before it has read the client's. A client that has none after {HELLO_S:.0f} s
gives up.
The receiver ends a connection that has sent no preface within {HANDSHAKE_S:.0f} s, or a wrong byte of it.

## Versions

This is version {frames.VERSION}. No version before {frames.OLDEST_VERSION} was released. The form of the preface
never changes, so any two versions recognise each other. A version talks to the one before it and to the one after it;
to any other it says both versions and closes the connection.

- A field is only ever appended, and has a default. A reader ignores fields that it does not know.
- A `Request` is the exception. A field that its reader does not know may restrict the job, so a node refuses the job.
- A tag is never used for another message again.
- The newer of two peers sends only the messages that the older one knows.

## Frames

A frame is the length of its payload (u32), its kind (u8), and the payload.

| Kind | Number | Payload | Longest payload |
| --- | --- | --- | --- |
| CONTROL | {frames.KIND_CONTROL} | one message, msgpack | {frames.MAX_CONTROL_BYTES:,} bytes |
| STDIO | {frames.KIND_STDIO} | job u64, rank u32, stream u8, offset u64, bytes; no bytes: end of the stream | \
{frames.MAX_STDIO_BYTES + frames.STDIO_HEADER_BYTES:,} bytes |
| INPUT | {frames.KIND_INPUT} | job u64, offset u64, signature ({frames.SIGNATURE_BYTES}), bytes; \
no bytes: end of the stream | \
{frames.MAX_STDIO_BYTES + len(frames.input_frame(0, _NO_INPUT)) - frames.HEADER_BYTES:,} bytes |
| CHUNK | {frames.KIND_CHUNK} | digest 32 bytes, length u32, offset u32, codec u8, bytes: a piece of a chunk | \
{frames.PIECE_BYTES + len(frames.piece_head(_EMPTY)) - frames.HEADER_BYTES:,} bytes |

- `offset` counts the bytes of the stream before these.
- Streams: {frames.STDIN} is standard input, from a client to the master, to rank {frames.EVERY_RANK:#x}, which is every
  rank; {frames.STDOUT} and {frames.STDERR} are the outputs and come up; so do the files of a request's `collect`,
  in {frames.FILES}, as `gproc/copy/steps.py` has them. STDIO frames go by CONTROL and CLIENT channels.
- INPUT frames are standard input from the master down, by CONTROL channels. The master signs each, over
  `"gproc input\\0"`, the session, the job (u64), the offset in the stream (u64) and a BLAKE3 digest of the data. A
  relay passes it on as it is.
- A stream has credit: its writer sends no more bytes than its reader allowed by `Accepted`, `Run` and `Credit`, at
  first between {credit.MIN_WINDOW_BYTES:,} and {credit.MAX_WINDOW_BYTES:,}.
- A chunk or manifest has at most {frames.MAX_BLOB_BYTES:,} bytes in its wire form, cut at multiples of
  {frames.PIECE_BYTES:,}. Codec {frames.CODEC_RAW} is plain, {frames.CODEC_ZSTD} is zstd. CHUNK frames go down by BULK
  channels, from client to master, and between peers.

## What a receiver does with what is wrong

It closes the connection, logs one sentence that says what was wrong, and goes on with its other connections. This holds
for a kind, channel, stream, codec or tag that does not exist; a payload longer than its kind may have (found by the
header, before any memory is used); a message that its direction does not have, or whose field is missing, of another
type or beyond its limit; text that is not UTF-8; and data that the receiver does not expect. A `Request` that breaks a
rule is a message of that kind. A message about a job, rank or bundle that is over is no fault, since it may have been
on its way: it is ignored. A client's session is stricter, since its master knows: output of a rank that does not run
ends it.

If data stays unacknowledged for {connection.UNACKNOWLEDGED_PART:g} of `--link-timeout`, the kernel ends the connection,
and each side counts the other one as lost.
"""


def document() -> str:
    parts = [HEAD, "## Messages\n", _tags()]
    for direction, title, when in TALKS:
        said = ", ".join(message.__name__ for message in sorted(direction.messages, key=_tag))
        parts.append(f"- {title}: {said}. {when}")
    everything = {message for direction in DIRECTIONS for message in direction.messages}
    parts += ["", *(_section(message) for message in sorted(everything, key=_tag))]
    parts.append("## Values\n\nThese are arrays within messages; an outcome begins with its tag.\n")
    parts += [_section(value) for value in VALUES]
    bound = f"A record has at most {tasks.RECORD_BYTES_MAX:,} bytes."
    parts.append(f"## Tasks\n\n{inspect.cleandoc(tasks.__doc__ or '')}\n\n{bound}\n")
    parts += [_section(each) for each in TASKS]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip("\n") + "\n"


def _tag(message: type) -> int:
    return tags.TAGS[message.__name__]


def _tags() -> str:
    rows = ["A message is an array: its tag, then its fields in this order.\n", "| Tag | Message | Directions |",
            "| --- | --- | --- |"]  # fmt: skip
    for name, tag in sorted(tags.TAGS.items(), key=lambda item: item[1]):
        said = [title for direction, title, _ in TALKS if name in [kind.__name__ for kind in direction.messages]]
        rows.append(f"| {tag} | {name} | {', '.join(said)} |")
    return "\n".join([*rows, ""])


def _section(value: Any) -> str:
    tag = value.__struct_config__.tag
    title = f"### {value.__name__}" + ("" if tag is None else f" ({tag})")
    lines = [title, "", inspect.cleandoc(value.__doc__), ""]
    fields = msgspec.structs.fields(value)
    if fields:
        lines += ["| Field | Type | Default |", "| --- | --- | --- |"]
        hints = get_type_hints(value, include_extras=True)
        lines += [f"| {field.name} | {_shown(hints[field.name])} | {_default(field)} |" for field in fields]
        lines.append("")
    return "\n".join(lines)


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is msgspec.NODEFAULT:
        return ""
    if isinstance(field.default, msgspec.Struct):
        return f"`{type(field.default).__name__}()`"
    return f"`{field.default!r}`"


def _shown(hint: Any) -> str:
    """A type as this page has it, with its limits."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is messages.Route:
        return "array of numbers of children"
    if origin is Annotated:
        return _shown(inner[0]) + "".join(_limits(meta) for meta in inner[1:])
    if origin in (Union, types.UnionType):
        by_nil = sorted(inner, key=lambda each: each is not type(None))
        return " or ".join(dict.fromkeys(_shown(each) for each in by_nil))
    if origin is Literal:
        return " or ".join(f'"{each}"' for each in inner)
    if origin is tuple:
        if len(inner) == 2 and inner[1] is Ellipsis:
            return f"array of ({_shown(inner[0])})"
        return f"[{', '.join(map(_shown, inner))}]"
    if origin is dict:
        return f"map from ({_shown(inner[0])}) to {_shown(inner[1])}"
    if hint is type(None):
        return "nil"
    return str(hint.__name__)


def _limits(meta: msgspec.Meta) -> str:
    words = {
        "ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}",
        "min_length": "length at least {}", "max_length": "length at most {}",
    }  # fmt: skip
    said = [text.format(_number(limit)) for name, text in words.items() if (limit := getattr(meta, name)) is not None]
    return f", {', '.join(said)}" if said else ""


def _number(limit: float) -> str:
    return "2^63-1" if limit == NUMBER_MAX else f"{limit:,}"


if __name__ == "__main__":
    PAGE.write_text(document())
