#!/bin/sh
# Usage: sh scripts/debian-packages.sh PACKAGE...
#
# Install the Debian packages that are missing. If that is not possible (no apt, not root, no network), say so and
# succeed: tests that need one of them skip with the reason.

set -eu

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    exit 0
fi

missing=
for package; do
    # shellcheck disable=SC2016  # dpkg-query's variable, not the shell's
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "debian-packages: not installed, some tests will skip:$missing" >&2
    exit 0
fi
# shellcheck disable=SC2086  # one word for each package
install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing </dev/null >/dev/null
}
# Package lists are fetched only if the present ones are not enough.
if ! install 2>/dev/null && ! { apt-get update -qq </dev/null >/dev/null && install; }; then
    echo "debian-packages: could not be installed, some tests will skip:$missing" >&2
fi
