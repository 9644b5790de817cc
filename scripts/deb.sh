#!/bin/sh
# Usage: sh scripts/deb.sh PYTHON DIRECTORY [OPTION...]
#
# Make a Debian package of this checkout in DIRECTORY, for this machine's architecture and for Debian's Python of the same
# minor version as PYTHON, which must be of a virtual environment with pip. The package has gproc and the libraries that
# it needs, of the versions in requirements.lock, as a virtual environment in /usr/lib/gproc, and the systemd units.
# OPTION is one of dpkg-deb: -Znone makes the package at once, but of three times the size.

set -eu

[ $# -ge 2 ] || { sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
python=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
shift 2
checkout=$(cd "$(dirname "$0")/.." && pwd)
command -v dpkg-deb >/dev/null || { echo "deb.sh: dpkg-deb is missing: this needs a Debian machine" >&2; exit 1; }

umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
root=$work/root
home=usr/lib/gproc
minor=$("$python" -c 'import sys; print(sys.version_info[1])')
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$checkout/gproc/__init__.py")
architecture=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$checkout" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

# 1. A virtual environment, whose Python is Debian's.
"$python" "$checkout/scripts/wheel.py" "$work" >/dev/null # which fails if the static helper is not in it
sed -n 's/^\([A-Za-z0-9._-]*==[^ ]*\).*/\1/p' "$checkout/requirements.lock" >"$work/versions"
"$python" -m pip install --quiet --disable-pip-version-check --no-warn-script-location --root-user-action=ignore \
    --ignore-installed --no-compile --prefix "$root/$home" --constraint "$work/versions" \
    "$(echo "$work"/gproc-*.whl)[top,web]"
[ -d "$root/$home/lib/python3.$minor/site-packages/gproc" ] ||
    { echo "deb.sh: $python is not of a virtual environment" >&2; exit 1; }
[ -x "$root/$home/lib/python3.$minor/site-packages/gproc/native/gproc-helper" ] ||
    { echo "deb.sh: the package would have no static helper, so it is no release" >&2; exit 1; }
cat >"$root/$home/pyvenv.cfg" <<CFG
home = /usr/bin
include-system-site-packages = false
version = 3.$minor
CFG
ln -s /usr/bin/python3 "$root/$home/bin/python3"

# 2. Of its commands only gproc's own, and nothing that names this machine.
mkdir -p "$root/usr/bin" "$root/usr/share/doc/gproc"
for each in "$root/$home/bin"/*; do
    name=${each##*/}
    if [ "$name" = python3 ]; then
        continue
    elif [ "$name" = gproc-copytonodes ]; then
        mv "$each" "$root/usr/bin"
    elif grep -q '^from gproc\.' "$each"; then
        sed "1s|.*|#!/$home/bin/python3|" "$each" >"$work/command"
        cat "$work/command" >"$each"
        ln -s "../lib/gproc/bin/$name" "$root/usr/bin/$name"
    else
        rm "$each"
    fi
done
(cd "$root/$home" && rm -rf include && find . -name direct_url.json -exec rm {} + && find . -name RECORD -exec rm {} +)
"$python" -m compileall -q -j 0 -s "$root" -p / --invalidation-mode unchecked-hash "$root/$home/lib"

# 3. What lies elsewhere.
cp -R "$root/$home/share" "$root/usr"
rm -rf "${root:?}/$home/share"
find "$root/usr/share/man" -type f ! -name 'gproc*.1' -exec rm {} + # of the packages that it needs
find "$root/usr/share/man" -type d -empty -delete
find "$root/usr/share/man" -name '*.1' -exec gzip -9n {} +
mkdir -p "$root/usr/lib/systemd/system"
for unit in gproc-master gproc-slave; do
    sed 's|/usr/local/bin/gproc|/usr/bin/gproc|' "$checkout/packaging/$unit.service" \
        >"$root/usr/lib/systemd/system/$unit.service"
done
cp "$checkout/LICENSE" "$root/usr/share/doc/gproc/copyright"
gzip -9nc "$checkout/CHANGELOG.md" >"$root/usr/share/doc/gproc/changelog.gz"
if grep -rlF "$work" "$root"; then
    echo "deb.sh: these files name the directory in which the package was made" >&2
    exit 1
fi

# 4. The package.
mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: gproc
Version: $version
Architecture: $architecture
Maintainer: the gproc authors <gproc@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: python3 (>= 3.$minor~), python3 (<< 3.$((minor + 1))~), libc6 (>= 2.28), libgcc-s1, libstdc++6
Recommends: openssh-client
Section: net
Priority: optional
Description: run a program on every node of a cluster
 gproc finds a program's shared libraries, sends all of it down a tree of
 rack masters, runs it on every node in a private root, and brings back
 output, exit status and failures, by node. Nodes need nothing but sshd.
CONTROL
cp "$checkout/packaging/debian"/* "$root/DEBIAN"
chmod 755 "$root/DEBIAN"/p*
file=$out/gproc_${version}_$architecture.deb
dpkg-deb --root-owner-group "$@" --build "$root" "$file" >/dev/null
echo "$file"
