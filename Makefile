# A fresh machine needs Python >= 3.11 and make; all else is set up by the first target that wants it.

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
HELPER := gproc/native/gproc-helper
HELPER_SOURCES := $(wildcard gproc/native/*.[ch]) gproc/native/build.py
STRICT := $(VENV)/.strict

# What the tests compile, run, or compare with; without one of them its tests skip.
PACKAGES := binutils busybox-static clang clustershell cppcheck fish gcc groff iproute2 libc6-dev libclang-rt-dev mandoc \
    musl-tools nftables openssh-client openssh-server parallel procps rpm rsync util-linux xz-utils zsh zstd

# Tests of different files run side by side, and wait for much: on two processors three at a time take least.
PYTEST := $(RUN) -m pytest -n 3 --dist loadfile

# Directories whose tests need no tree of processes: most take milliseconds.
FAST := $(addprefix tests/,adapters architecture bundle cli client copy link locales node nodespec policy records relay request \
    root service simulator spread store tasks tree trust wire)

.PHONY: help demo test test-fast test-deb stress fidelity globus browser lint types docs fuzz bench man wheel wheels deb lock \
    audit clean compiled strict missing-helper debian-packages

help:
	@echo "make demo       start a two-level tree on this machine, run a program on it, stop it"
	@echo "make test       all tests"
	@echo "make stress     the longest tests, and more kinds of those in make test: nodes, faults, names, the helper with sanitizers"
	@echo "make test-fast  the tests of rules, formats and words, which need no tree of processes: 2 minutes"
	@echo "make test-deb   the Debian package built, installed, used and purged by dpkg in a root of its own: root only, 1 minute"
	@echo "make fidelity   all programs of tests/fidelity/programs, at home and on six kinds of nodes: 10 minutes"
	@echo "make globus     gfork beside Globus' gfork and GridFTP, whose Debian packages are fetched"
	@echo "make browser    the page of gproc web in headless Chromium, which is fetched"
	@echo "make lint       ruff"
	@echo "make types      mypy --strict"
	@echo "make docs       write docs/wire.md from the types of the wire"
	@echo "make fuzz       a million broken inputs for each decoder in Python, ten million for the static helper's"
	@echo "make bench      the benchmarks of docs/benchmarks.md"
	@echo "make man        man pages in dist/man1"
	@echo "make wheel      a wheel for this machine in dist, for pip and pipx"
	@echo "make deb        a Debian package for this machine in dist, with all libraries of Python that it needs"
	@echo "make wheels     wheels for x86-64 and aarch64 in dist, by the compiler of the package ziglang"
	@echo "make lock       write requirements.lock: versions and digests of all that gproc and its tests need"
	@echo "make audit      the same, and look for known holes in them"
	@echo "make clean      remove all that these made"

demo: $(READY) $(HELPER)
	$(RUN) scripts/demo.py

# Tests start thousands of processes.  Each would compile all modules that it needs if no bytecode were kept, as many
# containers have it.
unexport PYTHONDONTWRITEBYTECODE

compiled: $(READY)
	@$(RUN) -m compileall -q gproc

# The helper, compiled by what debian-packages may just have brought.  Without a compiler (status 1) all is tested with
# jobs that Python starts; a helper that does not compile (2) is a fault.
strict: $(STRICT)

$(STRICT): $(HELPER_SOURCES) $(if $(wildcard $(HELPER)),,missing-helper) | $(READY) debian-packages
	@$(RUN) gproc/native/build.py --strict && touch $@ || [ $$? = 1 ]

test: strict compiled
	$(PYTEST) -m "not stress"

stress: strict compiled
	$(PYTEST) -m stress

test-fast: strict compiled
	$(PYTEST) -m "not slow and not stress" $(FAST)

# After the others: it builds with all processors.  Debian's python3 runs the package, systemd its units.
test-deb: strict compiled
	@sh scripts/debian-packages.sh python3 systemd
	$(RUN) -m pytest -q tests/packaging/test_deb.py

# Figures of docs/fidelity.md: nodes are made of packages of three Debian releases, which are fetched.
fidelity: $(READY) $(HELPER) debian-packages
	@rm -f .fidelity.log
	GPROC_FIDELITY=all GPROC_FIDELITY_LOG=.fidelity.log $(RUN) -m pytest -n 2 -q tests/fidelity/programs; \
	    status=$$?; $(RUN) -m tests.fidelity.programs.table .fidelity.log; exit $$status

# Exactly these versions, each file by its digest: for CI, and for the environment whose modules `gproc runtime` packs.
# With LOCKED=1 every target makes its environment of them.
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check 'pip-tools>=7.4' 'pip-audit>=2.7'
	$(VENV)-lock/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --extra dev --all-build-deps \
	    --no-header --no-emit-index-url --no-emit-find-links --output-file requirements.lock pyproject.toml

audit: lock
	$(VENV)-lock/bin/pip-audit --disable-pip --require-hashes -r requirements.lock

globus: $(READY)
	GPROC_GLOBUS=fetch $(RUN) -m pytest tests/adapters/globus

browser: $(READY) $(HELPER)
	@sh scripts/debian-packages.sh chromium fonts-dejavu-core
	$(RUN) -m pip install --quiet --disable-pip-version-check 'playwright>=1.49'
	$(RUN) -m pytest -q tests/web/test_browser.py

lint: $(READY)
	$(RUN) -m ruff check .

types: $(READY)
	$(RUN) -m mypy

docs: $(READY)
	$(RUN) -m scripts.wire_document

fuzz: $(READY) debian-packages
	$(RUN) -m pip install --quiet --disable-pip-version-check 'atheris>=2.3'
	$(RUN) -m tests.fuzz --runs 1000000
	$(RUN) -m tests.native.fuzz --runs 10000000

bench: $(READY) $(HELPER)
	$(RUN) -m bench

man: $(READY)
	$(RUN) -m gproc.cli.man dist/man1

wheel: $(READY)
	@$(RUN) scripts/wheel.py dist

deb: $(READY)
	@sh scripts/deb.sh $(RUN) dist

# An environment of its own: in $(VENV) the package ziglang would be a compiler, and tests want none.
wheels: $(READY)
	$(PYTHON) -m venv $(VENV)-wheels
	$(VENV)-wheels/bin/python -m pip install --quiet --disable-pip-version-check 'hatchling' 'msgspec>=0.19' 'ziglang>=0.13'
	@$(VENV)-wheels/bin/python scripts/wheel.py dist x86_64 aarch64

clean:
	rm -rf $(VENV) $(VENV)-wheels $(VENV)-lock dist .mypy_cache .ruff_cache .pytest_cache .hypothesis $(HELPER) $(HELPER).why
	find . -name __pycache__ -prune -exec rm -rf {} +

debian-packages:
	@sh scripts/debian-packages.sh $(PACKAGES)

# The static helper again, when its sources have changed; without a compiler gproc does without it.
$(HELPER): $(HELPER_SOURCES) | $(READY)
	@$(RUN) gproc/native/build.py || true

$(READY): pyproject.toml hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "gproc needs Python 3.11 or later, and $(PYTHON) is not: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sh scripts/debian-packages.sh python3-venv
	@$(PYTHON) -m venv $(VENV) || \
	    { echo "$(PYTHON) cannot make virtual environments: on Debian, apt install python3-venv" >&2; exit 1; }
ifdef LOCKED
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
else
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
endif
	@touch $@
