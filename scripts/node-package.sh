#!/bin/sh
# Usage: sh scripts/node-package.sh FILE
#
# Make FILE, a tar archive with everything that a slave needs to run: gproc, the libraries that a slave imports, and the
# command `gproc`. It can be unpacked in any directory of a node that has this machine's architecture and the same minor
# version of Python. GPROC_PYTHON names that Python here (default: python3); it needs pip.

set -eu

if [ $# -ne 1 ]; then
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
file=$1
python=${GPROC_PYTHON:-python3}
checkout=$(cd "$(dirname "$0")/.." && pwd)

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
trap 'exit 130' INT TERM

# cryptography, lief and typer, which only the front end needs, would make the archive five times larger.
requirements=$("$python" - "$checkout/pyproject.toml" <<'PYTHON'
import re
import sys
import tomllib

with open(sys.argv[1], "rb") as pyproject:
    dependencies = tomllib.load(pyproject)["project"]["dependencies"]
print(*(line for line in dependencies if re.match(r"[\w-]+", line)[0] in {"blake3", "msgspec", "pynacl", "zstandard"}))
PYTHON
)
# shellcheck disable=SC2086  # one word for each requirement
"$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-compile \
    --target "$tree/lib" $requirements
rm -rf "$tree/lib/bin"
cp -R "$checkout/gproc" "$tree/lib/gproc"
find "$tree/lib" -name __pycache__ -prune -exec rm -rf {} +

# Bytecode need not be checked: the directory is replaced as a whole, so a source never changes without its bytecode.
"$python" -m compileall -q --invalidation-mode unchecked-hash "$tree/lib"

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# Not PYTHONPATH, because programs started on the node would inherit it.
cat >"$tree/gproc" <<PYTHON
#!/usr/bin/env python$version
import sys
from os.path import dirname, join, realpath

sys.path[0] = join(dirname(realpath(__file__)), "lib")

from gproc.__main__ import main

main()
PYTHON
chmod 755 "$tree/gproc"

tar -C "$tree" -cf "$file" gproc lib
