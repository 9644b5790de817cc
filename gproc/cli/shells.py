"""The completion scripts of bash, zsh and fish, and where each shell finds them.

Each script asks `gproc __complete` (`gproc.cli.completing`), so it needs no renewal when gproc is upgraded.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Final

import msgspec

from gproc.environment import base_directory, user_home
from gproc.errors import GprocError, UsageError
from gproc.shown import quoted_text

_BASH: Final = r"""# Completion of gproc for bash 4.4 or later.
_gproc() {
    # bash cuts words at = and : too; what had no blank before it belongs to the word before.
    local line=${COMP_LINE:0:COMP_POINT} word i words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        local bare=${line#"${line%%[![:blank:]]*}"}
        ((i == COMP_CWORD)) && word=$bare
        if [[ $bare == "$line" && ${#words[@]} -gt 0 ]]; then words[-1]+=$word; else words+=("$word"); fi
        line=${bare#"$word"}
    done
    local current=${words[-1]} answers
    mapfile -t answers < <("${words[0]/#\~/$HOME}" __complete "${words[@]:1}" 2>/dev/null)
    local offer=${answers[0]%%$'\t'*} prefix=${answers[0]#*$'\t'} cut="" candidate
    # What readline has already as a word of its own is not repeated.
    local breaks=${COMP_WORDBREAKS//[^=:]/}
    [[ $breaks && $current == *["$breaks"]* ]] && cut=${current%"${current##*["$breaks"]}"}
    # Of a word that begins with @, readline replaces the @ too.
    [[ $COMP_WORDBREAKS == *@* && ${current#"$cut"} == *@* ]] && cut=${current%@*}
    COMPREPLY=()
    for candidate in "${answers[@]:1}"; do
        candidate=${candidate%%$'\t'*}
        [[ $candidate == "$current"* ]] && COMPREPLY+=("${candidate#"$cut"}")
    done
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[:/] ]] && compopt -o nospace
    [[ $offer ]] || return 0
    local part=${current#"$prefix"} found
    if [[ $prefix == "$cut" && $offer != command && ${#COMPREPLY[@]} -eq 0 ]]; then
        # Readline itself knows ~, quotes and directories best.
        if [[ $offer == directory ]]; then compopt -o dirnames; else compopt -o default; fi
        return 0
    fi
    compopt -o filenames
    while IFS= read -r found; do
        # Readline does not see that a rest behind its cut is a directory.
        [[ $cut != "$prefix" && -d $found ]] && found+=/ && compopt -o nospace
        found=$prefix$found
        COMPREPLY+=("${found#"$cut"}")
    done \
        < <(case $offer in command) compgen -A command -A file -- "$part" ;; *) compgen -A "$offer" -- "$part" ;; esac)
}
complete -F _gproc gproc
"""

_ZSH: Final = r"""#compdef gproc
# Completion of gproc for zsh.
_gproc() {
    local -a answers plain open
    local offer prefix line candidate
    # (Q): without the quotes that the person typed.
    answers=("${(@f)$("${(Q)words[1]/#\~/$HOME}" __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    offer=${answers[1]%%$'\t'*} prefix=${answers[1]#*$'\t'}
    for line in "${(@)answers[2,-1]}"; do
        candidate=${line%%$'\t'*}
        [[ -n $candidate ]] || continue
        candidate="${candidate//:/\\:}:${line#*$'\t'}"
        if [[ ${line%%$'\t'*} == *[:/] ]]; then open+=("$candidate"); else plain+=("$candidate"); fi
    done
    (( $#plain )) && _describe -V gproc plain -Q
    (( $#open )) && _describe -V gproc open -Q -S ''
    [[ -n $prefix ]] && compset -p $#prefix
    case $offer in
        file) _files ;;
        directory) _files -/ ;;
        command) _alternative 'commands:command:_command_names -e' 'files:file:_files' ;;
    esac
}
# As a file _gproc below a directory of $fpath, zsh has loaded this to complete with it at once.
if [[ $funcstack[1] == _gproc ]]; then
    _gproc "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
    compdef _gproc gproc
fi
"""

_FISH: Final = r"""# Completion of gproc for fish.
function __gproc_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    # The words are given to gproc as they are, quotes of the last one aside.
    set -l last (string unescape -- "$current"; or echo -- "$current")
    set -l answers ($words[1] __complete $words[2..-1] "$last" 2>/dev/null)
    set -l head (string split -m 1 \t -- "$answers[1]")
    set -l prefix $head[2]
    test (count $answers) -gt 1; and printf '%s\n' $answers[2..-1]
    set -l part (string sub -s (math 1 + (string length -- "$prefix")) -- "$current")
    switch "$head[1]"
        case file
            printf "$(string replace -a % %% -- $prefix)%s\n" (__fish_complete_path $part)
        case directory
            printf "$(string replace -a % %% -- $prefix)%s\n" (__fish_complete_directories $part)
        case command
            __fish_complete_command
    end
end
complete -c gproc -f -a '(__gproc_complete)'
"""


class Shell(msgspec.Struct, frozen=True):
    """rc: the start-up file that gets a line which reads the script; "": the shell finds the script by itself.

    shared: where the shell finds the script of a program that is installed for all, below the prefix's share directory.
    """

    name: str
    script: str
    shared: str
    rc: str = ""


SHELLS: Final = (
    Shell("bash", _BASH, "bash-completion/completions/gproc", ".bashrc"),
    Shell("zsh", _ZSH, "zsh/site-functions/_gproc", ".zshrc"),
    Shell("fish", _FISH, "fish/vendor_completions.d/gproc.fish"),
)


def shell_named(name: str) -> Shell:
    for shell in SHELLS:
        if shell.name == name:
            return shell
    raise UsageError(f"no completion for {quoted_text(name)}: bash, zsh or fish is wanted")


def script_path(shell: Shell, environ: Mapping[str, str]) -> str:
    _home(environ)
    if shell.name == "fish":
        base = base_directory(environ, "XDG_CONFIG_HOME", ".config", "")
        return os.path.join(base, "fish", "completions", "gproc.fish")
    base = base_directory(environ, "XDG_DATA_HOME", ".local/share", "")
    return os.path.join(base, "gproc", f"completion.{shell.name}")


def startup_path(shell: Shell, environ: Mapping[str, str]) -> str:
    """The start-up file that must read the script; "": none must."""
    if not shell.rc:
        return ""
    place = environ.get("ZDOTDIR", "") if shell.name == "zsh" else ""
    return os.path.join(place or _home(environ), shell.rc)


def install(shell: Shell, environ: Mapping[str, str]) -> list[str]:
    """Write the script, and the line that reads it, if it is not there yet.  Returns the files that were written.

    Raises: GprocError if a file cannot be written; OSError.
    """
    script, startup = script_path(shell, environ), startup_path(shell, environ)
    os.makedirs(os.path.dirname(script), exist_ok=True)
    with open(script, "w", encoding="utf-8") as file:
        file.write(shell.script)
    line = f"[ -r {_quoted(script)} ] && . {_quoted(script)}  # completion of gproc\n"
    if not startup or line in _text_of(startup):
        return [script]
    text = _text_of(startup)
    with open(startup, "a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(("\n" if text and not text.endswith("\n") else "") + line)
    return [script, startup]


def _home(environ: Mapping[str, str]) -> str:
    """Raises: GprocError if it is another user's, as with `sudo -E`: root writes nothing there."""
    home = user_home(environ)
    if not home:
        raise GprocError("you have no home: use --show-completion and put the script where your shell finds it")
    status = os.stat(home)
    if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode):
        raise GprocError(f"{home} is not your directory: run this as its owner, without sudo")
    return home


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _quoted(path: str) -> str:
    from shlex import quote

    return quote(path)
