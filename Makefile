# Everything from a bare checkout: what is missing is installed, the rest lives in .venv/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help venv test check unit fuzz soak kernels fix demo bench benchdata docs recording clean tools dist lock deb deb-test boot-test pythons platforms tutorial-test ansible-test

# Programs of the system that we use: program:package. linux.uml is the guest kernel that has ESP,
# modprobe loads its modules.
TOOLS := linux.uml:user-mode-linux modprobe:kmod ip:iproute2 tcpdump:tcpdump
# What only checks and tests need: the manual's lint, a browser, and IKE daemons to serve.
check: TOOLS += mandoc:mandoc
unit fix: TOOLS :=
test soak kernels: TOOLS += iked:openiked /usr/lib/ipsec/charon:strongswan-charon \
	swanctl:strongswan-swanctl
test: TOOLS += chromium-headless-shell:chromium-headless-shell
bench: TOOLS += iperf3:iperf3

export PATH := $(PATH):/usr/sbin:/sbin
# A real interpreter, 3.11 or later; make PYTHON=... takes another one.
PYTHON ?= $(shell for python in python3 python3.{11..19}; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && \
	"$$python" -c 'import sys; print(sys.executable)' && break; done)
BIN := .venv/bin
# Tests make network namespaces: whoever is not root becomes so in a user namespace.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,unshare --map-root-user --net)

help: ## show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

# Byte code is written here, since an environment may forbid it to the commands, which then start
# in twice the time.
venv: .venv/installed ## make .venv with setkey, kame-sysctl, kamexfrm and kamexfrmd in its bin
	@$(BIN)/python -m compileall -q kamexfrm

.venv/installed: pyproject.toml | tools
	@if [ -z "$(PYTHON)" ]; then echo "install Python 3.11 or later" >&2; exit 1; fi
	[ -x $(BIN)/python ] && [ -x $(BIN)/pip ] || "$(PYTHON)" -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	$(BIN)/pip install --quiet --disable-pip-version-check --only-binary atheris -e '.[fuzz]' \
		2>/dev/null || echo "no wheel of atheris for this Python: fuzzing goes by damage alone"
	touch $@

# Debian's python3 lacks ensurepip, which venv needs, until python3-venv is there. Debian starts a
# daemon when it is installed and at each boot: ours are for the guest, this machine may have others.
tools:
	@missing=
	for tool in $(TOOLS); do
		command -v "$${tool%%:*}" >/dev/null || missing="$$missing $${tool#*:}"
	done
	if [ ! -x $(BIN)/pip ] && [ -n "$(PYTHON)" ] &&
			! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then
		missing="$$missing python3-venv"
	fi
	if [ -z "$$missing" ]; then
		exit 0
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "installing:$$missing"
		export DEBIAN_FRONTEND=noninteractive
		policy=/usr/sbin/policy-rc.d
		if [ ! -e "$$policy" ]; then
			trap 'rm -f "$$policy"' EXIT
			printf '#!/bin/sh\nexit 101\n' >"$$policy"
			chmod +x "$$policy"
		fi
		log=$$(mktemp)
		{ apt-get -q update && apt-get -q -y install --no-install-recommends $$missing; } \
			>"$$log" 2>&1 || { cat "$$log" >&2; rm "$$log"; exit 1; }
		rm "$$log"
		case "$$missing" in *openiked*) systemctl disable openiked &>/dev/null || : ;; esac
		case "$$missing" in *charon*) systemctl disable strongswan-starter &>/dev/null || : ;; esac
	else
		echo "please install:$$missing (Debian's names)" >&2
		exit 1
	fi

# Seconds of each fuzz target; in make test they run one after the other in what the tests leave of
# the processors, since the guest takes one and its tests wait for it.
# There the seed is fixed: what make test finds comes from the change that it tests.
FUZZ_SECONDS ?= 600
FUZZ_SEED ?=
test: FUZZ_SECONDS = 60
test: FUZZ_SEED = 1
FUZZ = nice -n 19 $(BIN)/python tests/fuzz/fuzz.py --seconds $(FUZZ_SECONDS) $(FUZZ_SEED:%=--seed %)

test: check ## run the checks and all tests, data plane included, and fuzz for 60 s a target
	mkdir -p build
	$(FUZZ) >build/fuzz.log 2>&1 &
	trap "kill $$! 2>/dev/null || :" EXIT
	$(AS_ROOT) $(BIN)/python -m pytest
	wait $$! || { cat build/fuzz.log; exit 1; }
	cat build/fuzz.log

SOAK_MINUTES ?= 30
soak: venv ## reload, rekey, flip and run IKE under traffic for SOAK_MINUTES=30
	$(AS_ROOT) $(BIN)/python tests/soak/soak.py --minutes $(SOAK_MINUTES)

# KERNELS names some (debian:trixie), PARTS some parts of tests; tests/matrix/matrix.py has them.
kernels: TOOLS += depmod:kmod qemu-system-x86_64:qemu-system-x86 busybox:busybox-static
kernels: venv ## run the tests that need a kernel on Debian's kernels, for hours: docs/kernels.md
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[qemu]'
	$(AS_ROOT) nice -n 19 $(BIN)/python tests/matrix/matrix.py \
		$(KERNELS:%=--kernel %) $(PARTS:%=--part %)

fuzz: venv ## fuzz all that reads hostile input, FUZZ_SECONDS=600 for each target
	$(FUZZ)

# pyright asks for newer versions of itself unless told not to.
check: export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
check: venv ## run ruff, mypy, pyright, mandoc and the tests of the tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	mandoc -Tlint -Wwarning man/*
	$(BIN)/python -m pytest -q tests/test_{floors,circles,tree,exports}.py

# Tests that need no kernel, no root and no guest, under half a minute: tests/conftest.py tells
# which, and has the profile with a tenth of the laws' examples. The pure floors' own tests must
# cover them; pytest -m unit runs the same tests on all examples.
PURE := pfkey model xfrm translate
ABOVE := kernel engine hub setkey sysctl
UNIT := -m pytest -q -m unit --hypothesis-profile unit

unit: venv ## run the tests without kernel, root and guest, in half a minute; print coverage
	@log=$$(mktemp)
	trap 'rm -f "$$log"' EXIT
	$(BIN)/python $(UNIT) -p no:cacheprovider tests/test_*.py $(ABOVE:%=tests/%) >"$$log" 2>&1 &
	above=$$!
	pure=0
	$(BIN)/coverage run $(UNIT) $(PURE:%=tests/%) || pure=$$?
	wait $$above || pure=1
	cat "$$log"
	[ $$pure = 0 ]
	$(BIN)/coverage report

fix: venv ## let ruff correct and format all files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: venv ## two hosts, setkey on each, ESP on the wire
	$(AS_ROOT) $(BIN)/kamexfrm demo

bench: venv ## compare our speed with ip(8)'s and AF_KEY's, and write docs/bench.md
	$(AS_ROOT) $(BIN)/python -m tests.bench.bench --page docs/bench.md

benchdata: venv ## compare what a packet costs with our policies and with those of ip xfrm
	unshare $(if $(filter 0,$(shell id -u)),,--map-root-user) --net $(BIN)/python tests/bench/data.py

recording: venv ## make docs/tour.svg, the recording in README.md, again
	$(BIN)/python -m tests.docs.recording docs/tour.svg

docs: venv ## build the API pages in build/api
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	rm -rf build/api
	$(BIN)/python docs/build_api.py

dist: venv ## make wheel and sdist in dist, check them, install and use them in a bare environment
	$(BIN)/python -m tests.packaging.dist

lock: venv ## write packaging/requirements.lock anew, with the newest versions
	$(BIN)/python -m tests.packaging.dist --lock

# The package of Debian 12 and 13; the build takes Debian's own Python, whatever else is in the path.
deb: TOOLS := dpkg-buildpackage:dpkg-dev dh:debhelper pybuild:dh-python
deb: tools ## make dist/kamexfrm_VERSION_all.deb, on Debian
	@if [ "$$(id -u)" = 0 ]; then
		apt-get -q -y build-dep --no-install-recommends . >/dev/null
	fi
	/usr/bin/python3 -m tests.packaging.deb deb

# Root alone can make the fresh systems of the following targets; SUITES="trixie" chooses some.
SUITES ?= bookworm trixie
deb-test boot-test platforms tutorial-test: TOOLS += debootstrap:debootstrap

deb-test: venv ## build, lint, install, upgrade and purge the package on fresh Debian systems
	$(BIN)/python -m tests.packaging.deb deb-test $(SUITES)

boot-test: venv ## boot fresh Debian systems with the package of deb-test, systemd and all
	$(BIN)/python -m tests.packaging.boot $(SUITES)

pythons: venv ## run the unit tests on each Python, and with the oldest dependencies
	$(BIN)/python -m tests.packaging.pythons

platforms: venv ## make demo and make test in a bare clone on fresh Debian systems
	$(BIN)/python -m tests.packaging.platforms $(SUITES)

tutorial-test: venv ## follow README and tutorial as an ordinary user on fresh Debian systems
	$(BIN)/python -m tests.packaging.tutorial $(SUITES)

ansible-test: venv ## run the role of contrib/ansible on HOSTS=50 network namespaces, twice
	$(BIN)/python -m tests.packaging.ansible

clean: ## remove .venv and all caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
