"""Images: their layers, their digests, and what a malicious one cannot do."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import struct
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gproc.bundle.containers import images, layers, sif
from gproc.bundle.containers.layers import LayeredTree
from gproc.errors import BundleError, UsageError
from gproc.packager import PackRequest, pack
from tests.system.cluster import Cluster
from tests.system.conftest import cluster

__all__ = ["cluster"]

Entry = tuple[str, str, str]
"""A name, a kind ("f", "d", "l" for a symbolic and "h" for a hard link, "c", "p"), and content or target."""

KINDS = {
    "f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE, "c": tarfile.CHRTYPE,
    "p": tarfile.FIFOTYPE,
}  # fmt: skip


def layer(*entries: Entry, mode: int = 0o644) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, content in entries:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.mtime = KINDS[kind], mode | 0o100 * (kind == "d"), 10**9
            data = content.encode() if kind == "f" else b""
            member.size = len(data)
            member.linkname = content if kind in "lh" else ""
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def unpacked(place: Path, *tars: bytes) -> Path:
    place.mkdir()
    tree = LayeredTree(str(place))
    try:
        for tar in tars:
            tree.apply(io.BytesIO(tar))
    finally:
        tree.close()
    return place


def listing(top: Path) -> dict[str, str]:
    found = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        found[name] = "-> " + os.readlink(path) if path.is_symlink() else "/" if path.is_dir() else path.read_text()
    return found


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layout(
    place: Path,
    tars: Sequence[bytes],
    *,
    squeeze: Callable[[bytes], bytes] = bytes,
    name: str = "",
    damage: str = "",
    named: Sequence[bytes] | None = None,
) -> Path:
    """An OCI layout with one image.  named: the layers that its configuration names, if others than it has."""
    blobs = place / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(data: bytes, kind: str) -> dict[str, Any]:
        digest = sha256(data)
        (blobs / digest[7:]).write_bytes(data + b"x" * (kind == damage))
        return {"mediaType": f"application/vnd.oci.image.{kind}.v1+json", "digest": digest, "size": len(data)}

    rootfs = {"type": "layers", "diff_ids": [sha256(tar) for tar in (tars if named is None else named)]}
    config = put(json.dumps({"rootfs": rootfs}).encode(), "config")
    manifest = {"schemaVersion": 2, "config": config, "layers": [put(squeeze(tar), "layer") for tar in tars]}
    image = put(json.dumps(manifest).encode(), "manifest")
    if name:
        image["annotations"] = {"org.opencontainers.image.ref.name": name}
    index = place / "index.json"
    others = json.loads(index.read_text())["manifests"] if index.exists() else []
    index.write_text(json.dumps({"schemaVersion": 2, "manifests": [*others, image]}))
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return place


def saved(place: Path, tars: Sequence[bytes], *, damage: bool = False) -> Path:
    """An archive as `docker save` and `podman save` write it."""
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]}}).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    names = [f"{index}/layer.tar" for index in range(len(tars))]
    listed = json.dumps([{"Config": name, "RepoTags": ["x:latest"], "Layers": names}]).encode()
    files = {name: config, "manifest.json": listed, **dict(zip(names, tars, strict=True))}
    if damage:
        files[names[0]] += b"x"
    with tarfile.open(place, "w") as archive:
        for each, data in files.items():
            member = tarfile.TarInfo(each)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return place


def archived(directory: Path) -> Path:
    with tarfile.open(f"{directory}.tar", "w") as archive:
        for path in sorted(directory.rglob("*")):
            archive.add(path, path.relative_to(directory), recursive=False)
    return Path(f"{directory}.tar")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"}


LOWER = layer(("etc", "d", ""), ("etc/a", "f", "lower a"), ("etc/b", "f", "lower b"), ("lib", "l", "usr/lib"))
UPPER = layer(("etc/.wh.a", "f", ""), ("etc/c", "f", "upper c"), ("usr/lib/x", "f", "x"), ("lib/y", "f", "y"))
BOTH = {
    "etc": "/", "etc/b": "lower b", "etc/c": "upper c", "lib": "-> usr/lib", "usr": "/", "usr/lib": "/",
    "usr/lib/x": "x", "usr/lib/y": "y",
}  # fmt: skip


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_layers_lie_over_one_another(
    tmp_path: Path, environ: dict[str, str], squeeze: Callable[[bytes], bytes]
) -> None:
    image = layout(tmp_path / "image", [LOWER, UPPER], squeeze=squeeze)
    root = images.root_of("image", str(tmp_path), environ)
    assert listing(Path(root)) == BOTH
    assert images.root_of(str(archived(image)), "/", environ) == root
    compressed = tmp_path / "image.tar.gz"
    compressed.write_bytes(gzip.compress(Path(f"{image}.tar").read_bytes()))
    assert images.root_of(str(compressed), "/", environ) == root
    assert os.listdir(tmp_path / "cache/gproc/images") == [os.path.basename(root)]


def test_an_archive_of_docker_save_is_an_image_too(tmp_path: Path, environ: dict[str, str]) -> None:
    root = images.root_of(str(saved(tmp_path / "saved.tar", [LOWER, UPPER])), "/", environ)
    assert listing(Path(root)) == BOTH


def test_one_of_several_images_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    layout(tmp_path / "image", [LOWER], name="one")
    layout(tmp_path / "image", [UPPER], name="registry.example/x:two")
    assert "etc/c" in listing(Path(images.root_of("image:two", str(tmp_path), environ)))
    with pytest.raises(BundleError, match=r"several images.*PATH:NAME.*one, registry.example/x:two"):
        images.root_of("image", str(tmp_path), environ)
    with pytest.raises(BundleError, match="no image named three"):
        images.root_of("image:three", str(tmp_path), environ)


def test_the_name_of_an_image_has_colons_itself(tmp_path: Path, environ: dict[str, str]) -> None:
    layout(tmp_path / "image", [LOWER], name="registry:5000/a:1")
    layout(tmp_path / "image", [UPPER], name="registry:5000/b:1")
    assert "etc/c" in listing(Path(images.root_of("image:registry:5000/b:1", str(tmp_path), environ)))
    archive = saved(tmp_path / "a:b.tar", [LOWER, UPPER])
    assert listing(Path(images.root_of(f"{archive}:x:latest", "/", environ))) == BOTH
    assert listing(Path(images.root_of(f"{archive}:latest", "/", environ))) == BOTH


def test_nobody_waits_for_ever_for_a_fifo_in_a_layout(tmp_path: Path, environ: dict[str, str]) -> None:
    image = layout(tmp_path / "image", [LOWER])
    largest = max((image / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.unlink()
    os.mkfifo(largest)
    with pytest.raises(BundleError, match=f"blobs/sha256/{largest.name} is no file"):
        images.root_of("image", str(tmp_path), environ)


@pytest.mark.parametrize("kind", ["manifest", "config", "layer"])
def test_a_damaged_image_is_refused_and_leaves_nothing(tmp_path: Path, environ: dict[str, str], kind: str) -> None:
    layout(tmp_path / "image", [LOWER], damage=kind)
    with pytest.raises(BundleError, match="is damaged: it does not have the digest that names it"):
        images.root_of("image", str(tmp_path), environ)
    assert os.listdir(tmp_path / "cache/gproc/images") == []


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_layer_that_the_configuration_does_not_name_is_refused(
    tmp_path: Path, environ: dict[str, str], squeeze: Callable[[bytes], bytes]
) -> None:
    layout(tmp_path / "image", [LOWER], squeeze=squeeze, named=[UPPER])
    with pytest.raises(BundleError, match="is damaged: it is not the layer that the image's configuration names"):
        images.root_of("image", str(tmp_path), environ)
    layout(tmp_path / "more", [LOWER], squeeze=squeeze, named=[LOWER, UPPER])
    with pytest.raises(BundleError, match="it has 1 layers, and its configuration names 2"):
        images.root_of("more", str(tmp_path), environ)


def test_zeros_of_a_layer_become_a_hole(tmp_path: Path) -> None:
    content = "x" + "\0" * (5 << 20) + "y" + "\0" * (3 << 20)
    top = unpacked(tmp_path / "t", layer(("a", "f", content)))
    assert (top / "a").read_text() == content
    assert (top / "a").stat().st_blocks * 512 < 4 << 20


def test_a_damaged_layer_of_an_archive_is_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(BundleError, match=r"0/layer.tar is damaged"):
        images.root_of(str(saved(tmp_path / "saved.tar", [LOWER], damage=True)), "/", environ)


def test_what_is_no_image_is_told_so(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "text").write_text("hello\n" * 200)
    (tmp_path / "cut.gz").write_bytes(gzip.compress(os.urandom(5000))[:2000])
    wanted = {"directory": "-r DIR", "text": "--image text: ", "cut.gz": "compression", "no": "No such"}
    for name, words in wanted.items():
        with pytest.raises(BundleError, match=words):
            images.root_of(name, str(tmp_path), environ)


def test_a_whiteout_of_a_whole_directory_leaves_what_its_own_layer_has(tmp_path: Path) -> None:
    below = layer(("d/one", "f", "1"), ("d/sub/two", "f", "2"), ("e/three", "f", "3"))
    above = layer(("d/sub/new", "f", "n"), ("d/.wh..wh..opq", "f", ""), ("d/own", "f", "o"), (".wh.e", "f", ""))
    assert listing(unpacked(tmp_path / "t", below, above)) == {"d": "/", "d/own": "o", "d/sub": "/", "d/sub/new": "n"}


def test_a_file_takes_the_place_of_a_directory_and_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("mine")
    below = layer(("a/b", "f", "1"), ("l", "l", str(tmp_path / "outside")), ("h", "f", "kept"), ("i", "h", "h"))
    above = layer(("a", "f", "file"), ("l", "f", "file"), ("h", "f", "new"))
    found = listing(unpacked(tmp_path / "t", below, above))
    assert found == {"a": "file", "h": "new", "i": "kept", "l": "file"}
    assert (tmp_path / "outside").read_text() == "mine"


def test_a_link_is_followed_inside_the_image_alone(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    entries = (
        ("up", "l", "../../../../../.." + str(tmp_path / "outside")), ("abs", "l", str(tmp_path / "outside")),
        ("up/a", "f", "a"), ("abs/b", "f", "b"),
    )  # fmt: skip
    found = listing(unpacked(tmp_path / "t", layer(*entries)))
    inside = str(tmp_path / "outside")[1:]
    assert (found[f"{inside}/a"], found[f"{inside}/b"]) == ("a", "b")
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.parametrize(
    "entry",
    [
        ("../x", "f", "x"), ("a/../../x", "f", "x"), ("x", "h", "../../etc/passwd"), (".wh..", "f", ""),
        (".wh...", "f", ""), ("x", "h", "no/such"), ("x", "l", ""), ("f/below", "f", ""), ("loop/x", "f", ""),
    ],
)  # fmt: skip
def test_a_name_that_leads_out_or_nowhere_is_refused(tmp_path: Path, entry: Entry) -> None:
    with pytest.raises(BundleError):
        unpacked(tmp_path / "t", layer(("f", "f", "f"), ("loop", "l", "loop"), entry))
    assert set(os.listdir(tmp_path)) == {"t"}


def test_devices_fifos_and_set_id_bits_are_left_out(tmp_path: Path) -> None:
    top = unpacked(tmp_path / "t", layer(("null", "c", ""), ("pipe", "p", ""), ("s", "f", "x"), mode=0o6755))
    assert os.listdir(top) == ["s"]
    assert stat.S_IMODE((top / "s").stat().st_mode) == 0o755


def test_an_image_has_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "ENTRIES_MAX", 3)
    with pytest.raises(BundleError, match="more than 3 entries"):
        unpacked(tmp_path / "t", layer(*((f"f{index}", "f", "") for index in range(5))))
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 32
    with pytest.raises(BundleError, match="extended header"):
        unpacked(tmp_path / "u", header.tobuf(tarfile.USTAR_FORMAT))


NAMES = st.lists(
    st.sampled_from(["a", "b", "c", "..", ".", "", ".wh.a", ".wh..wh..opq", ".wh...", "x" * 300]),
    min_size=1,
    max_size=4,
).map("/".join)
ENTRIES = st.lists(st.tuples(NAMES, st.sampled_from("fdlhcp"), NAMES.map(lambda name: name[:90])), max_size=12)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(ENTRIES, min_size=1, max_size=3), st.integers(0, 4000), st.binary(max_size=3))
def test_no_layer_makes_anything_outside(all_entries: list[list[Entry]], at: int, noise: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        outside = Path(place)
        (outside / "a").write_text("mine")
        tree_at = outside / "b/c/tree"
        tree_at.parent.mkdir(parents=True)
        try:
            tars = [layer(*entries) for entries in all_entries]
            tars[-1] = tars[-1][:at] + noise + tars[-1][at + len(noise) :]
            unpacked(tree_at, *tars)
        except (BundleError, OSError):
            pass
        assert (outside / "a").read_text() == "mine"
        assert set(os.listdir(outside)) == {"a", "b"}
        assert (os.listdir(outside / "b"), os.listdir(outside / "b/c")) == (["c"], ["tree"])


def sif_file(place: Path, file_system: int = 1, role: int = 2) -> Path:
    """Header and table of a SIF file, whose partition is no file system."""
    head = b"#!/usr/bin/env run-singularity\n".ljust(32, b"\0") + b"SIF_MAGIC\0" + b"01\0" + b"02\0" + bytes(16)
    table = struct.pack("<qqqqqqqq", 0, 0, 47, 48, 4096, 585 * 48, 32768, 100)
    extra = struct.pack("<ii", file_system, role).ljust(384, b"\0")
    unused = bytes(585)
    used = struct.pack("<i?IIIqqqqqqq128s384s", 0x4004, True, 1, 1, 0, 32768, 100, 100, 0, 0, 0, 0, b"", extra)
    data = (head + table).ljust(4096, b"\0") + unused + used + unused * 46
    place.write_bytes(data.ljust(32768, b"\0") + bytes(100))
    return place


def test_the_root_file_system_of_a_sif_image_is_found(tmp_path: Path, environ: dict[str, str]) -> None:
    with sif_file(tmp_path / "x.sif").open("rb") as file:
        assert sif.is_sif(file)
        assert sif.primary_partition(file) == 32768
    for file_system, role, words in ((2, 2, "no squashfs"), (1, 3, "no root file system")):
        other = sif_file(tmp_path / "y.sif", file_system, role)
        with other.open("rb") as file, pytest.raises(BundleError, match=words):
            sif.primary_partition(file)
    with pytest.raises(BundleError, match="unsquashfs"):
        images.root_of(str(tmp_path / "x.sif"), "/", environ)
    assert os.listdir(tmp_path / "cache/gproc/images") == []


# Programs from images


def program_image(place: Path, size_bytes: int = 0, change: int = 0) -> Path:
    """An image with cat(1) as /app/show, what it needs, and a file of random numbers that has `change` at one place."""
    own = pack(PackRequest("/bin/cat", "/", {"XDG_CACHE_HOME": str(place.parent / "own-cache"), "PATH": "/bin"}))
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for entry in own.manifest.files():
            path = os.fsdecode(own.sources.get(entry.path, entry.path))
            archive.add(path, os.fsdecode(entry.path)[1:], recursive=False)
        for link in own.manifest.links():
            member = tarfile.TarInfo(os.fsdecode(link.path)[1:])
            member.type, member.linkname = tarfile.SYMTYPE, os.fsdecode(link.target)
            archive.addfile(member)
        archive.add(os.path.realpath("/bin/cat"), "app/show", recursive=False)
        data = bytearray(b"of the image\n" + os.urandom(0))
        data += bytes(range(256)) * (size_bytes // 256)
        data[-1:] = bytes([data[-1] ^ change])
        member = tarfile.TarInfo("app/data")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return layout(place, [made.getvalue()])


def test_a_program_of_an_image_runs_with_the_images_libraries_and_files(cluster: Cluster, tmp_path: Path) -> None:
    cluster.slave(1)
    image = program_image(tmp_path / "image")
    done = cluster.exec("--image", str(image), "-f", "/app/data", "1", "/app/show", "/app/data")
    assert (done.returncode, done.stdout) == (0, b"of the image\n"), done.stderr
    done = cluster.command("map", "--image", str(image), "1", "/app/show", ":::", "/proc/self/comm")
    assert (done.returncode, done.stdout) == (0, b"show\n"), done.stderr
    done = cluster.exec("--image", str(image), "1", "/app/none")
    assert done.returncode == 127


def test_of_a_changed_image_only_changed_chunks_are_new(tmp_path: Path, environ: dict[str, str]) -> None:
    size_bytes = 32 << 20
    images_made = [program_image(tmp_path / f"image{change}", size_bytes, change) for change in (0, 1)]
    bundles = [
        pack(PackRequest("/app/show", "/", environ, ("/app/data",), image=str(image))) for image in images_made
    ]
    new = bundles[1].chunks.keys() - bundles[0].chunks.keys()
    assert len(new) == 1
    assert len(bundles[1].encoded) < 1 << 20


def test_an_image_and_another_root_do_not_go_together(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="leave one of them out"):
        pack(PackRequest("cat", "/", environ, root="/x", image="y"))
    with pytest.raises(UsageError, match="--venv"):
        pack(PackRequest("/app/show", "/", environ, venv="v", image=str(program_image(tmp_path / "image"))))
