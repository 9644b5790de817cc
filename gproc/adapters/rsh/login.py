"""What a node's shell does for a session: what sshd does there.

The user's entry in the node's own list of users says which shell and which home.  The command ends when all that it has
started there has ended: otherwise a process in the background would be killed, because nothing of a job stays.
"""

from __future__ import annotations

from typing import Final

COMMAND: Final = "command"
SHELL: Final = "shell"
SFTP: Final = "sftp"

_SCRIPT: Final = r"""
kind=$1 command=$2 user=$3
wanted=${user:-$(id -u)}
is_found() {
    while IFS=: read -r name _ number _ _ home shell; do
        case $wanted in "$name" | "$number") return 0;; esac
    done
    return 1
}
if entry=$(getent passwd "$wanted" 2>/dev/null); then
    is_found <<END
$entry
END
else
    is_found </etc/passwd
fi 2>/dev/null || {
    if [ -n "$user" ]; then echo "gproc-rsh: there is no user $user on this node" >&2; exit 255; fi
    name=$wanted home=/ shell=
}
HOME=$home SHELL=${shell:-/bin/sh} USER=$name LOGNAME=$name
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME SHELL USER LOGNAME PATH
cd "$HOME" 2>/dev/null || cd /
if [ "$kind" = shell ]; then
    if [ -n "$user" ]; then exec su -l "$user"; fi
    exec "$SHELL" -l
fi
if [ "$kind" = sftp ]; then
    command=
    for server in /usr/lib/openssh /usr/libexec/openssh /usr/lib/ssh /usr/libexec /usr/lib; do
        if [ -x "$server/sftp-server" ]; then command="exec $server/sftp-server"; break; fi
    done
    if [ -z "$command" ]; then echo "gproc-rsh: there is no sftp-server on this node" >&2; exit 255; fi
fi
trap : INT QUIT  # of a terminal: they are for the command, which may go on and has a status
if [ -n "$user" ]; then su "$user" -c "$command"; else "$SHELL" -c "$command"; fi
status=$?
if [ "$PPID" = 1 ]; then  # all processes here are this session's
    while kill -0 -1; do sleep 0.05 || sleep 1; done 2>/dev/null
fi
exit $status
"""


def session(kind: str, command: str, user: str) -> tuple[str, ...]:
    """The words of a program that runs a line of shell, or another kind of session, as this user ("": as the
    caller)."""
    return ("/bin/sh", "-c", _SCRIPT, "gproc-rsh", kind, command, user)
