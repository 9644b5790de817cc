"""One program for each rule of the dynamic linker, built by gcc and compared with `ld.so --list`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gproc.bundle.linking.closure import LibraryMissing
from gproc.content.manifest import Symlink
from gproc.errors import BundleError
from gproc.packager import Bundle
from tests.bundle.conftest import LOADER

Compile = Callable[..., Path]
Linked = Callable[..., set[str]]
Pack = Callable[..., Bundle]

MAIN = "int f(void); int main(void) { return f(); }"
FROM = "-Wl,--allow-shlib-undefined"
NEW = "-Wl,--enable-new-dtags"
OLD = "-Wl,--disable-new-dtags"


def library(compiled: Compile, name: str, *flags: str, value: int = 0) -> Path:
    soname = f"-Wl,-soname,{os.path.basename(name)}"
    return compiled(name, f"int f(void) {{ return {value}; }}", soname, *flags)


def chain(compiled: Compile, tags: str, program_path: str, middle_path: str | None = None) -> Path:
    """A program that needs libm1.so, which needs libf.so, in directories of their own."""
    library(compiled, "deep/libf.so")
    more = [f"-Wl,-rpath,{middle_path}", NEW] if middle_path is not None else []
    compiled("mid/libm1.so", "int f(void); int g(void) { return f(); }", "-Ldeep", "-lf", *more)
    source = "int g(void); int main(void) { return g(); }"
    return compiled("bin/prog", source, "-Lmid", "-lm1", FROM, tags, f"-Wl,-rpath,{program_path}")


def test_an_rpath_serves_the_libraries_of_libraries(compiled: Compile, as_linked: Linked) -> None:
    program = chain(compiled, OLD, "$ORIGIN/../mid:$ORIGIN/../deep")
    assert as_linked(program) == {"bin/prog", "mid/libm1.so", "deep/libf.so"}


def test_a_runpath_serves_its_own_object_alone(compiled: Compile, packed: Pack) -> None:
    program = chain(compiled, NEW, "$ORIGIN/../mid:$ORIGIN/../deep")
    with pytest.raises(LibraryMissing, match=r"libm1\.so needs libf\.so, not found in .*ld\.so"):
        packed(program)


def test_a_librarys_runpath_hides_the_rpath_above_it(compiled: Compile, packed: Pack, as_linked: Linked) -> None:
    library(compiled, "other/libf.so", value=1)
    program = chain(compiled, OLD, "$ORIGIN/../mid:$ORIGIN/../other", "$ORIGIN/../deep")
    assert as_linked(program) == {"bin/prog", "mid/libm1.so", "deep/libf.so"}


def test_ld_library_path_comes_after_rpath_and_before_runpath(
    compiled: Compile, as_linked: Linked, tmp_path: Path
) -> None:
    library(compiled, "own/libf.so")
    library(compiled, "env/libf.so")
    environ = {"LD_LIBRARY_PATH": str(tmp_path / "env")}
    by_rpath = compiled("bin/r", MAIN, "-Lown", "-lf", OLD, "-Wl,-rpath,$ORIGIN/../own")
    by_runpath = compiled("bin/n", MAIN, "-Lown", "-lf", NEW, "-Wl,-rpath,$ORIGIN/../own")
    assert "own/libf.so" in as_linked(by_rpath, environ)
    assert "env/libf.so" in as_linked(by_runpath, environ)


@pytest.mark.parametrize("value", ["", ":", "/nowhere:", "/nowhere;"])
def test_an_empty_element_of_ld_library_path_is_the_working_directory(
    compiled: Compile, as_linked: Linked, packed: Pack, value: str
) -> None:
    library(compiled, "libf.so")
    program = compiled("bin/prog", MAIN, "-L.", "-lf")
    if not value:
        with pytest.raises(LibraryMissing):
            packed(program, {"LD_LIBRARY_PATH": value})
    else:
        assert as_linked(program, {"LD_LIBRARY_PATH": value}) == {"bin/prog", "libf.so"}


@pytest.mark.parametrize("token", ["$ORIGIN", "${ORIGIN}"])
def test_origin_is_the_programs_real_place_behind_two_links(
    compiled: Compile, as_linked: Linked, packed: Pack, tmp_path: Path, token: str
) -> None:
    library(compiled, "app/lib/libf.so")
    compiled("app/bin/prog", MAIN, "-Lapp/lib", "-lf", f"-Wl,-rpath,{token}/../lib")
    (tmp_path / "first").symlink_to("app/bin/prog")
    (tmp_path / "second").symlink_to(tmp_path / "first")
    assert as_linked(tmp_path / "second") == {"app/bin/prog", "app/lib/libf.so"}
    manifest = packed(tmp_path / "second").manifest
    links = {entry.path: entry.target for entry in manifest.entries if isinstance(entry, Symlink)}
    assert manifest.program == os.fsencode(tmp_path / "second")
    assert links[os.fsencode(tmp_path / "first")] == b"app/bin/prog"
    assert links[os.fsencode(tmp_path / "second")] == b"../" * str(tmp_path).count("/") + os.fsencode(
        tmp_path / "first"
    ).lstrip(b"/")


@pytest.mark.parametrize("token", ["$LIB", "${LIB}"])
def test_lib_is_the_directory_that_the_linker_was_built_with(compiled: Compile, as_linked: Linked, token: str) -> None:
    library(compiled, "lib/x86_64-linux-gnu/libf.so")
    program = compiled("bin/prog", MAIN, "-Llib/x86_64-linux-gnu", "-lf", f"-Wl,-rpath,$ORIGIN/../{token}")
    assert as_linked(program) == {"bin/prog", "lib/x86_64-linux-gnu/libf.so"}


def test_platform_is_the_processors_name(compiled: Compile, as_linked: Linked) -> None:
    told = subprocess.run([LOADER, "--list-diagnostics"], capture_output=True, text=True, check=True).stdout
    (name,) = re.findall('^dl_platform="(.+)"$', told, re.MULTILINE)  # before glibc 2.37 that of a family
    library(compiled, f"plat/{name}/libf.so")
    program = compiled("bin/prog", MAIN, f"-Lplat/{name}", "-lf", "-Wl,-rpath,$ORIGIN/../plat/$PLATFORM")
    assert as_linked(program) == {"bin/prog", f"plat/{name}/libf.so"}


def test_a_library_of_another_machine_is_ignored(
    compiled: Compile, as_linked: Linked, make_elf: Callable[..., bytes], tmp_path: Path
) -> None:
    library(compiled, "right/libf.so")
    for name, elf in (("arm", make_elf(machine=183)), ("i386", make_elf(bits=32, machine=3))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "libf.so").write_bytes(elf)
    path = "$ORIGIN/../arm:$ORIGIN/../i386:$ORIGIN/../right"
    program = compiled("bin/prog", MAIN, "-Lright", "-lf", f"-Wl,-rpath,{path}")
    assert as_linked(program) == {"bin/prog", "right/libf.so"}


def test_all_builds_for_certain_processors_go_along_with_the_plain_one(
    compiled: Compile, packed: Pack, tmp_path: Path
) -> None:
    library(compiled, "lib/libf.so")
    for level in ("x86-64-v2", "x86-64-v3", "x86-64-v4"):
        library(compiled, f"lib/glibc-hwcaps/{level}/libf.so", "-Wl,-rpath,/nowhere")
    program = compiled("bin/prog", MAIN, "-Llib", "-lf", "-Wl,-rpath,$ORIGIN/../lib")
    bundle = packed(program)
    names = [os.fsdecode(file.path) for file in bundle.manifest.files()]
    assert sum(name.startswith(f"{tmp_path}/lib/") for name in names) == 4
    assert os.fsencode(tmp_path / "lib") in bundle.manifest.library_dirs
    assert not any(b"hwcaps" in directory for directory in bundle.manifest.library_dirs)


def test_preloaded_libraries_go_along_and_missing_ones_are_ignored(
    compiled: Compile, as_linked: Linked, tmp_path: Path
) -> None:
    library(compiled, "libpre.so")
    program = compiled("prog", "int main(void) { return 0; }")
    environ = {"LD_PRELOAD": f"{tmp_path}/libpre.so /nowhere/at-all.so:libnone.so"}
    assert as_linked(program, environ) == {"prog", "libpre.so"}


def test_a_library_loaded_for_one_object_serves_all_that_need_its_name(compiled: Compile, as_linked: Linked) -> None:
    library(compiled, "one/libf.so")
    library(compiled, "two/libf.so")
    compiled("two/libg.so", "int f(void); int g(void) { return f(); }", "-Ltwo", "-lf", NEW, "-Wl,-rpath,$ORIGIN")
    source = "int f(void), g(void); int main(void) { return f() + g(); }"
    program = compiled(
        "bin/prog", source, "-Lone", "-lf", "-Ltwo", "-lg", NEW, "-Wl,-rpath,$ORIGIN/../one:$ORIGIN/../two"
    )
    assert as_linked(program) == {"bin/prog", "one/libf.so", "two/libg.so"}


def test_l_directories_are_searched_before_the_systems_and_named_for_the_node(
    compiled: Compile, packed: Pack, tmp_path: Path
) -> None:
    library(compiled, "extra/libf.so")
    program = compiled("prog", MAIN, "-Lextra", "-lf")
    manifest = packed(program, library_path=("extra",)).manifest
    assert manifest.configured_dirs == (os.fsencode(tmp_path / "extra"),)
    assert os.fsencode(tmp_path / "extra/libf.so") in {file.path for file in manifest.files()}


def test_the_loader_finds_the_same_closure_by_library_dirs(compiled: Compile, packed: Pack, tmp_path: Path) -> None:
    library(compiled, "one/libf.so", value=1)
    library(compiled, "two/libf.so", value=2)
    compiled("one/libg.so", "int g(void) { return 30; }", "-Wl,-soname,libg.so")
    compiled("two/libg.so", "int g(void) { return 40; }", "-Wl,-soname,libg.so")
    source = "int f(void), g(void); int main(void) { return f() + g(); }"
    program = compiled("bin/prog", source, "-Ltwo", "-lf", "-lg", "-Wl,-rpath,$ORIGIN/../two:$ORIGIN/../one")
    manifest = packed(program, extra=("one",)).manifest
    path = ":".join(map(os.fsdecode, manifest.library_dirs))
    command = [os.fsdecode(manifest.loader), "--inhibit-rpath", "", "--library-path", path, str(program)]
    assert subprocess.run(command, timeout=60).returncode == subprocess.run([program], timeout=60).returncode == 42


@pytest.mark.parametrize("flag", ["-static", "-static-pie"])
def test_a_static_program_is_a_bundle_of_one_file(compiled: Compile, packed: Pack, flag: str) -> None:
    program = compiled("prog", "int main(void) { return 0; }", flag)
    manifest = packed(program).manifest
    assert [file.path for file in manifest.files()] == [os.fsencode(program)]
    assert (manifest.loader, manifest.library_dirs, manifest.glibc_version) == (b"", (), (0, 0))


def test_a_musl_program_takes_musls_loader_and_nothing_of_glibc(
    compiled: Compile, packed: Pack, tmp_path: Path, run_on_empty_node: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    compiled("lib/libf.so", "int f(void) { return 7; }", by="musl-gcc")
    # Without $ORIGIN, for which musl reads /proc: an empty node has none.
    program = compiled("bin/prog", MAIN, "-Llib", "-lf", f"-Wl,-rpath,{tmp_path}/lib", by="musl-gcc")
    bundle = packed(program)
    names = {os.path.basename(file.path) for file in bundle.manifest.files()}
    assert names == {b"prog", b"libf.so", b"libc.so"}
    assert re.fullmatch(rb"/lib/ld-musl-.*\.so\.1", bundle.manifest.loader)
    assert bundle.manifest.glibc == ()
    assert run_on_empty_node(bundle).returncode == 7


def test_the_error_for_a_missing_library_names_its_user_and_the_places(compiled: Compile, packed: Pack) -> None:
    gone = library(compiled, "gone/libf.so")
    program = compiled("prog", MAIN, "-Lgone", "-lf", "-Wl,-rpath,/opt/sought")
    gone.unlink()
    with pytest.raises(LibraryMissing) as caught:
        packed(program)
    assert (caught.value.name, caught.value.needed_by) == ("libf.so", str(program))
    assert caught.value.searched[0] == "/opt/sought"


@pytest.mark.parametrize("name", ["../libf.so", "sub/../libf.so", "/lib/../etc/passwd", "", ".."])
def test_a_needed_name_that_leaves_the_search_path_is_refused(
    make_elf: Callable[..., bytes], packed: Pack, tmp_path: Path, name: str
) -> None:
    program = tmp_path / "prog"
    program.write_bytes(make_elf([name], interpreter="/lib64/ld-linux-x86-64.so.2"))
    program.chmod(0o755)
    with pytest.raises(BundleError, match="neither a plain name nor a path without"):
        packed(program)


def test_a_program_started_through_its_needed_absolute_path_is_found(
    compiled: Compile, as_linked: Linked, tmp_path: Path
) -> None:
    compiled("odd/libf.so", "int f(void) { return 0; }")
    program = compiled("prog", MAIN, f"{tmp_path}/odd/libf.so")
    assert as_linked(program) == {"prog", "odd/libf.so"}


def test_libraries_that_need_each_other_end_the_search(
    make_elf: Callable[..., bytes], packed: Pack, tmp_path: Path
) -> None:
    for name, needed in (("liba.so", ["libb.so", "liba.so"]), ("libb.so", ["liba.so"])):
        (tmp_path / name).write_bytes(make_elf(needed, soname=name))
    program = tmp_path / "prog"
    program.write_bytes(make_elf(["liba.so"], interpreter="/lib64/ld-linux-x86-64.so.2", rpath="$ORIGIN"))
    program.chmod(0o755)
    assert len(list(packed(program).manifest.files())) == 4


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_corrupt_program_is_packed_or_refused_and_nothing_else(
    make_elf: Callable[..., bytes], packed: Pack, tmp_path: Path, data: st.DataObject
) -> None:
    whole = bytearray(
        make_elf(["libc.so.6"], interpreter="/lib64/ld-linux-x86-64.so.2", rpath="$ORIGIN:/x", soname="s")
    )
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    program = tmp_path / "prog"
    program.write_bytes(whole[: data.draw(st.integers(4, len(whole)) | st.just(len(whole)))])
    program.chmod(0o755)
    # A cache of its own: a record of one example must not change another one, nor a repetition.
    with tempfile.TemporaryDirectory(dir=tmp_path) as directory:
        try:
            packed(program, cache_dir=f"{directory}/cache")
        except BundleError as error:
            assert str(error)


@pytest.mark.parametrize("name", [b"\xe9", "é".encode()], ids=["latin-1", "utf-8"])
@pytest.mark.parametrize("field", ["rpath", "runpath"])
@pytest.mark.parametrize("locale", ["C", pytest.param("C.UTF-8", marks=pytest.mark.stress)])
def test_names_in_any_encoding_are_packed_and_remembered_under_any_locale(
    make_elf: Callable[..., bytes], tmp_path: Path, name: bytes, field: str, locale: str
) -> None:
    text = os.fsdecode(name)
    library = tmp_path / text / f"lib{text}.so"
    library.parent.mkdir()
    library.write_bytes(make_elf(soname=library.name))
    program = tmp_path / "prog"
    search_path = {field: f"$ORIGIN/{text}"}
    program.write_bytes(make_elf([library.name], interpreter="/lib64/ld-linux-x86-64.so.2", soname=text, **search_path))
    program.chmod(0o755)
    script = (
        "import os, sys\n"
        "from gproc.packager import PackRequest, pack\n"
        "given = PackRequest(sys.argv[1], '/', os.environ, cache_dir=sys.argv[2] + '/cache')\n"
        "found = [file.path for file in pack(given, explain=True).manifest.files()]\n"
        "assert os.fsencode(sys.argv[3]) in found, found\n"
        "print('lief' in sys.modules)\n"
    )
    # Without these two, Python uses UTF-8 for the C locale.  A Latin-1 locale may not be installed.
    environ = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command: list[str | bytes | Path] = [sys.executable, "-c", script, program, tmp_path, library]
    for lief_is_loaded in ("True", "False"):
        done = subprocess.run(command, capture_output=True, env=environ, timeout=60)
        assert (done.stderr, done.stdout.decode().strip()) == (b"", lief_is_loaded)


def test_a_search_path_of_many_kilobytes_is_searched(compiled: Compile, as_linked: Linked) -> None:
    library(compiled, "far/libf.so")
    path = ":".join(f"/opt/prefix/{number:064d}/lib" for number in range(200))
    program = compiled("bin/prog", MAIN, "-Lfar", "-lf", f"-Wl,-rpath,{path}:$ORIGIN/../far")
    assert as_linked(program) == {"bin/prog", "far/libf.so"}


def test_a_plug_in_of_f_is_packed_with_its_libraries_and_at_its_own_path(
    compiled: Compile, packed: Pack, tmp_path: Path
) -> None:
    library(compiled, "deep/libf.so")
    compiled("plug/in.so", "int f(void); int g(void) { return f(); }", "-Ldeep", "-lf", "-Wl,-rpath,$ORIGIN/../deep")
    manifest = packed(compiled("bin/prog", "int main(void) { return 0; }"), extra=("plug",)).manifest
    assert os.fsencode(tmp_path / "deep/libf.so") in {file.path for file in manifest.files()}
    assert os.fsencode(tmp_path / "plug") in manifest.code_dirs
    assert os.fsencode(tmp_path / "deep") in manifest.code_dirs


def test_a_library_linked_by_a_relative_path_is_found_from_the_working_directory(
    compiled: Compile, as_linked: Linked
) -> None:
    compiled("lib/libf.so", "int f(void) { return 0; }")  # without a soname
    program = compiled("bin/prog", MAIN, "lib/libf.so")
    assert as_linked(program) == {"bin/prog", "lib/libf.so"}


def test_a_library_that_only_files_of_f_need_may_be_missing(compiled: Compile, packed: Pack, tmp_path: Path) -> None:
    gone = library(compiled, "gone/libf.so")
    compiled("tree/other", MAIN, "-Lgone", "-lf")
    compiled("tree/in.so", "int f(void); int g(void) { return f(); }", "-Lgone", "-lf")
    (tmp_path / "tree" / "broken.so").write_bytes((tmp_path / "tree/in.so").read_bytes()[:1000])
    gone.unlink()
    bundle = packed(compiled("prog", "int main(void) { return 0; }"), extra=("tree",))
    names = {os.path.basename(file.path) for file in bundle.manifest.files()}
    assert {b"other", b"in.so", b"broken.so"} <= names


def test_a_copy_of_glibc_among_the_extra_files_is_not_taken_for_the_programs_own(packed: Pack, tmp_path: Path) -> None:
    (tmp_path / "sysroot").mkdir()
    for file in packed("date").manifest.files():
        copy = tmp_path / "sysroot" / os.path.basename(os.fsdecode(file.path))
        copy.write_bytes(Path(os.fsdecode(file.path)).read_bytes())
    manifest = packed("date", extra=("sysroot",)).manifest
    assert manifest.glibc == packed("date").manifest.glibc
    assert manifest.library_dirs == packed("date").manifest.library_dirs


def test_code_directories_are_the_outermost_ones(compiled: Compile, packed: Pack, tmp_path: Path) -> None:
    library(compiled, "a/b/libf.so")
    compiled("a-b/libg.so", "int g(void) { return 0; }")
    source = "int f(void), g(void); int main(void) { return f() + g(); }"
    program = compiled("a/prog", source, "-La/b", "-lf", "-La-b", "-lg", "-Wl,-rpath,$ORIGIN/b:$ORIGIN/../a-b")
    found = [path for path in packed(program).manifest.code_dirs if path.startswith(os.fsencode(tmp_path))]
    assert found == [os.fsencode(tmp_path / "a"), os.fsencode(tmp_path / "a-b")]


def test_a_preloaded_library_may_be_named_by_tokens(compiled: Compile, as_linked: Linked, tmp_path: Path) -> None:
    library(compiled, "lib/x86_64-linux-gnu/libpre.so")
    program = compiled("prog", "int main(void) { return 0; }")
    assert as_linked(program, {"LD_PRELOAD": f"{tmp_path}/$LIB/libpre.so"}) == {
        "prog",
        "lib/x86_64-linux-gnu/libpre.so",
    }


def test_search_paths_made_to_cost_time_are_refused(
    make_elf: Callable[..., bytes], packed: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gproc.bundle.linking.closure.LOOKUPS_MAX", 1000)
    (tmp_path / "libx.so").write_bytes(make_elf(["liby.so"], soname="libx.so"))
    path = ":".join(f"/nowhere/{number}" for number in range(2000))
    program = tmp_path / "prog"
    program.write_bytes(make_elf(["libx.so"], interpreter="/lib64/ld-linux-x86-64.so.2", rpath=f"{path}:$ORIGIN"))
    program.chmod(0o755)
    with pytest.raises(BundleError, match="not found after 1000 lookups of libraries"):
        packed(program)


def test_a_configuration_that_includes_itself_ends(
    make_elf: Callable[..., bytes], packed: Pack, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    for name, content in {
        "etc/ld.so.conf": b"include /etc/*.conf\ninclude ld.so.conf\n/opt/lib\n",
        "opt/lib/libx.so": make_elf(soname="libx.so"),
        "lib64/ld-linux-x86-64.so.2": make_elf(soname="ld-linux-x86-64.so.2"),
        "bin/prog": make_elf(["libx.so"], interpreter="/lib64/ld-linux-x86-64.so.2"),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "bin/prog").chmod(0o755)
    assert packed("/bin/prog", root=str(root)).manifest.configured_dirs == (b"/opt/lib",)
