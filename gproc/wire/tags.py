"""The numbers of all messages.  Pure."""

from __future__ import annotations

from typing import Final

TAGS: Final = {
    "Join": 1, "Attach": 2, "Welcome": 3, "RefuseJoin": 4, "Arrived": 5, "Left": 6, "Granted": 7, "Ping": 8,
    "Shutdown": 9, "AskLease": 10, "Leased": 11, "Goodbye": 12, "Revocations": 13, "AskCertificate": 14,
    "Certified": 15, "NewKeys": 16, "OldKeysEnd": 17, "CutOff": 18,
    "Run": 20, "SignalJob": 21, "Finished": 22, "Credit": 23, "Release": 24, "StageProgress": 25, "Resize": 26,
    "StripeProgress": 27, "SetSources": 28, "JobOrder": 29, "RankEnded": 34, "SameOutput": 35, "OutputGone": 36,
    "AnnounceOutput": 37, "AnswerOutput": 38, "BringOutput": 39,
    "Want": 30, "Unavailable": 31, "PeerHello": 32, "PeerReady": 33,
    "Submit": 40, "Accepted": 41, "Rejected": 42, "Inquire": 43, "TreeState": 44, "Poll": 45, "Load": 46,
    "Acknowledged": 50, "OutOfReach": 51,
    "ListJobs": 60, "JobList": 61, "SubmitKept": 62, "Detach": 63, "Detached": 64, "ViewJob": 65, "Viewing": 66,
    "Moment": 67, "Dropped": 68, "KillJob": 69, "RemoveJobs": 70, "ActedOn": 71, "Dismissed": 90, "NotKept": 91,
    "AskFailed": 72, "FailedNodes": 73, "FindNodes": 74, "FoundNodes": 75,
    "AskStacks": 86, "JobStacks": 87, "StacksShown": 88,
    "SubmitTasks": 78, "TaskSpeaks": 79, "TaskFinished": 80, "TasksConcluded": 81,
    "AskFaults": 76, "FaultList": 77, "DrainNodes": 84, "NodesDrained": 85,
}  # fmt: skip
"""The first element of each message.  A number is never used for another message again."""


def tag_of(name: str) -> int:
    """The tag of the message with this class name."""
    return TAGS[name]
