"""`-r`: a program of another system, for any machine, is resolved entirely inside its root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.content.manifest import Symlink, check
from gproc.errors import BundleError, ProgramNotFound
from gproc.packager import Bundle, find_program

Make = Callable[..., bytes]
Pack = Callable[..., Bundle]

ARM = {"machine": 183}
LOADER = "/lib/ld-linux-aarch64.so.1"


@pytest.fixture
def root(tmp_path: Path, make_elf: Make) -> Path:
    """A small arm64 system: merged /usr, absolute links, a library in a directory of ld.so.conf."""
    root = tmp_path / "root"
    for directory in ("usr/bin", "usr/lib/aarch64-linux-gnu", "etc/ld.so.conf.d", "opt/deep/lib"):
        (root / directory).mkdir(parents=True)
    (root / "lib").symlink_to("/usr/lib")
    (root / "bin").symlink_to("usr/bin")
    # The built-in directories, as Debian's loader has them.
    directories = b"\0/lib/aarch64-linux-gnu/\0/usr/lib/aarch64-linux-gnu/\0/lib/\0/usr/lib/\0"
    loader = root / "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"
    loader.write_bytes(make_elf(soname="ld-linux-aarch64.so.1", **ARM) + directories)
    (root / "usr/lib/ld-linux-aarch64.so.1").symlink_to("aarch64-linux-gnu/ld-linux-aarch64.so.1")
    (root / "usr/lib/aarch64-linux-gnu/libc.so.6").write_bytes(
        make_elf(["ld-linux-aarch64.so.1"], soname="libc.so.6", **ARM)
        + b"GNU C Library (Debian GLIBC 2.41-1) stable release version 2.41.\n"
    )
    (root / "etc/ld.so.conf").write_text("# comment\ninclude ld.so.conf.d/*.conf\n")
    (root / "etc/ld.so.conf.d/deep.conf").write_text("/opt/link/lib\n")
    (root / "opt/link").symlink_to("/opt/deep")
    (root / "opt/deep/lib/libdeep.so.1").write_bytes(make_elf(["libc.so.6"], soname="libdeep.so.1", **ARM))
    program = root / "usr/bin/prog"
    program.write_bytes(make_elf(["libdeep.so.1", "libc.so.6"], interpreter=LOADER, **ARM))
    program.chmod(0o755)
    return root


def test_everything_is_found_inside_the_root(packed: Pack, root: Path) -> None:
    bundle = packed("prog", root=str(root))
    manifest = bundle.manifest
    check(manifest)
    assert manifest.program == b"/usr/bin/prog"
    assert manifest.loader == os.fsencode(LOADER)
    assert {file.path for file in manifest.files()} == {
        b"/usr/bin/prog",
        b"/usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
        b"/usr/lib/aarch64-linux-gnu/libc.so.6",
        b"/opt/deep/lib/libdeep.so.1",
    }
    assert manifest.glibc_version == (2, 41)
    assert manifest.configured_dirs == (b"/opt/deep/lib",)
    assert all(source.startswith(os.fsencode(root)) for source in bundle.sources.values())


def test_absolute_links_are_read_inside_the_root_and_made_relative(packed: Pack, root: Path) -> None:
    entries = packed("/bin/prog", root=str(root)).manifest.entries
    links = {entry.path: entry.target for entry in entries if isinstance(entry, Symlink)}
    assert links[b"/lib"] == b"usr/lib"
    assert links[b"/opt/link"] == b"../opt/deep"
    assert links[b"/bin"] == b"usr/bin"


@pytest.mark.parametrize("target", ["../../../../../../etc/hostname", "/../../etc/hostname"])
def test_a_link_that_climbs_out_of_the_root_ends_at_the_root(packed: Pack, root: Path, target: str) -> None:
    (root / "etc/hostname").write_text("inside\n")
    (root / "opt/climb").symlink_to(target)
    bundle = packed("prog", root=str(root), extra=("/opt/climb",))
    sources = {bundle.sources[file.path] for file in bundle.manifest.files() if file.path == b"/etc/hostname"}
    assert sources == {os.fsencode(root / "etc/hostname")}
    link = next(entry for entry in bundle.manifest.entries if entry.path == b"/opt/climb")
    assert isinstance(link, Symlink)
    assert os.path.normpath(b"/opt/" + link.target) == b"/etc/hostname"
    assert link.target.count(b"..") <= 2


def test_a_link_to_what_only_this_machine_has_is_no_pipe(packed: Pack, root: Path, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("of this machine\n")
    (root / "opt/out").symlink_to(tmp_path / "here")
    with pytest.raises(BundleError, match=r"/opt/out: no such file or directory"):
        packed("prog", root=str(root), extra=("/opt/out",))


def test_a_library_that_only_this_machine_has_is_not_found(packed: Pack, root: Path) -> None:
    with pytest.raises(ProgramNotFound):
        find_program("date", "/", {"PATH": "/usr/bin"}, str(root))
    (root / "opt/deep/lib/libdeep.so.1").unlink()
    with pytest.raises(BundleError, match=r"needs libdeep\.so\.1, not found in"):
        packed("prog", root=str(root))


def test_ld_so_cache_decides_if_there_is_one(packed: Pack, root: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("ldconfig", path="/usr/sbin:/sbin") is None:
        pytest.skip("needs root and ldconfig(8) to make a cache inside a root")
    for name in ("libdate.so.1", "glibc-hwcaps/x86-64-v2/libdate.so.1"):
        (root / "opt/deep/lib" / name).parent.mkdir(parents=True, exist_ok=True)
    source = "int f(void) { return 0; }"
    for name in ("libdate.so.1", "glibc-hwcaps/x86-64-v2/libdate.so.1"):
        path = root / "opt/deep/lib" / name
        command = ["gcc", "-x", "c", "-", "-shared", "-fPIC", "-nostdlib", "-Wl,-soname,libdate.so.1", "-o", str(path)]
        if shutil.which("gcc") is None or subprocess.run(command, input=source, text=True).returncode:
            pytest.skip("needs gcc for a library that ldconfig takes")
    subprocess.run(["/usr/sbin/ldconfig", "-X", "-r", str(root)], check=True, capture_output=True)
    (root / "etc/ld.so.conf").unlink()
    program = root / "usr/bin/here"
    loader = root / "usr/lib/ld-linux-x86-64.so.2"
    shutil.copy(os.path.realpath("/lib64/ld-linux-x86-64.so.2"), loader)
    command = ["gcc", "-x", "c", "-", "-nostdlib", "-o", str(program), f"-L{root}/opt/deep/lib", "-l:libdate.so.1"]
    command += ["-Wl,--dynamic-linker=/usr/lib/ld-linux-x86-64.so.2"]
    subprocess.run(command, input="int f(void); void _start(void) { f(); }", text=True, check=True)
    paths = {file.path for file in packed("here", root=str(root)).manifest.files()}
    assert {b"/opt/deep/lib/libdate.so.1", b"/opt/deep/lib/glibc-hwcaps/x86-64-v2/libdate.so.1"} <= paths


APT_CONFIG = """
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Dir::State "%(here)s/state";
Dir::State::status "%(here)s/status";
Dir::Cache "%(here)s/cache";
"""


@pytest.fixture
def debian_arm64(tmp_path: Path) -> Path:
    """Debian's own packages for another architecture, unpacked and never configured: no ld.so.cache, no /bin link."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("needs apt-get and dpkg-deb to get packages of another architecture")
    here = tmp_path / "apt"
    for name in ("state/lists/partial", "cache/archives/partial"):
        (here / name).mkdir(parents=True)
    (here / "status").touch()
    (here / "apt.conf").write_text(APT_CONFIG % {"here": here})
    environ = {**os.environ, "APT_CONFIG": str(here / "apt.conf")}
    packages = ["libc6", "coreutils", "libselinux1", "libpcre2-8-0"]
    for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "download", *packages]):
        try:
            done = subprocess.run(command, env=environ, cwd=here, capture_output=True, timeout=120)
        except subprocess.TimeoutExpired:
            pytest.skip("needs Debian's package archive, which did not answer within two minutes")
        if done.returncode:
            pytest.skip("needs Debian's package archive, which cannot be reached")
    root = tmp_path / "arm64"
    for package in sorted(here.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)
    return root


@pytest.mark.slow
@pytest.mark.stress
def test_a_debian_system_for_arm64_is_packed_from_its_unpacked_packages(packed: Pack, debian_arm64: Path) -> None:
    manifest = packed("ls", root=str(debian_arm64)).manifest
    names = {os.path.basename(os.fsdecode(file.path)).partition(".so")[0] for file in manifest.files()}
    modules = {"libnss_compat", "libnss_dns", "libnss_files"}
    assert {"ld-linux-aarch64", "libc", "libpcre2-8", "libselinux", "ls"} <= names - modules
    assert manifest.loader == b"/lib/ld-linux-aarch64.so.1"
    assert manifest.glibc_version >= (2, 31)


def test_a_root_that_is_none_is_named_and_not_the_program(tmp_path: Path) -> None:
    """A mistyped `-r` was told as a program that is not in PATH."""
    (tmp_path / "file").touch()
    for name, reason in (("none", "there is no such directory"), ("file", "is no directory")):
        with pytest.raises(BundleError, match=f"{name}: {reason}$"):
            find_program("prog", "/", {"PATH": "/usr/bin"}, str(tmp_path / name))
