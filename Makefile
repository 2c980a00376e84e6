# Everything a developer runs; `make` alone lists it. What needs root goes through sudo, what is missing is installed first.

VENV := .venv
PYTHON := $(VENV)/bin/python
OBJECT := src/vswitch/datapath/ebpf/vswitch.bpf.o
ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
# As root nothing is written into the tree that its owner could not remove.
ROOT_PYTHON := $(ROOT) env PYTHONDONTWRITEBYTECODE=1 $(PYTHON)
ROOT_PYTEST := $(ROOT_PYTHON) -m pytest -p no:cacheprovider
# Tests that need no root, and those that load eBPF or make network namespaces.
PURE_TESTS = $(wildcard tests/unit tests/property tests/vectors tests/tidy)
KERNEL_TESTS = $(wildcard tests/bpf tests/e2e)
# A command that runs another one as root under the oldest kernel promised, in a virtual machine.
KERNEL_VM ?= $(wildcard ../shared/tools/kernel-vm)
# It is slow, so bounds are longer there, and bytecode is kept where it goes with the machine; it loads no modules itself.
VM_ENVIRONMENT = modprobe tun; export LAB_PATIENCE=10 PYTHONPYCACHEPREFIX=/tmp/bytecode; unset PYTHONDONTWRITEBYTECODE
# Its files come over a slow line: what each `vswitch` that a test starts has to load is copied into memory first.
VM_MEMORY = for d in src $(VENV)/lib/python3*/site-packages/pyroute2; do \
	mkdir -p /run/memory/$$d && cp -a $$d/. /run/memory/$$d && mount --bind /run/memory/$$d $$d || exit; done
# What to run there: make test-kernel KERNEL_TEST_ARGS="tests/bpf -k 'parse or ipv6'"
KERNEL_TEST_ARGS ?= -m "not slow" $(KERNEL_TESTS)
# What to measure, of what `python -m bench --help` lists; all of it if empty.
CASES ?=

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup object generate format lint check test test-kernel slow interop bench bench-kernel bench-objects demo wheel clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: setup object ## show what the switch does, on this machine, in namespaces of its own (root)
	$(ROOT) env PYTHONDONTWRITEBYTECODE=1 $(VENV)/bin/vswitch demo

check: lint ## what needs no root: ruff, mypy, unit, property and tidy tests
	$(PYTHON) -m pytest -n auto -m "not slow" $(PURE_TESTS)

test: check object ## check, and the tests that load eBPF and make network namespaces (root)
	$(ROOT_PYTEST) -m "not slow" $(KERNEL_TESTS)

test-kernel: setup object ## the tests that need root, under the oldest kernel promised, in a virtual machine
	@test -n "$(KERNEL_VM)" || { echo "test-kernel: set KERNEL_VM to a command that runs its argument as root in a virtual machine" >&2; exit 1; }
	KERNEL_VM_SECONDS=$${KERNEL_VM_SECONDS:-3000} $(KERNEL_VM) \
		'uname -r; $(VM_ENVIRONMENT); $(VM_MEMORY); $(PYTHON) -m pytest -p no:cacheprovider $(subst ','\'',$(KERNEL_TEST_ARGS))'

slow: object ## the tests that take minutes, and property tests with ten times the examples (root; installs Open vSwitch)
	@scripts/setup bench
	EXAMPLES=10 $(PYTHON) -m pytest -n auto -m "not slow" tests/property
	$(ROOT_PYTEST) -m slow $(PURE_TESTS) $(KERNEL_TESTS) tests/interop/test_ofproto_trace.py

interop: object ## ours with the programs of others: ovs-ofctl, os-ken, Open vSwitch (root; installs them; an hour)
	@scripts/setup interop
	@scripts/faucet
	$(ROOT_PYTEST) tests/interop

bench: object bench-objects ## measure beside Open vSwitch and others (root; installs it): make bench CASES="tcp udp"
	$(ROOT_PYTHON) -m bench $(CASES)

bench-kernel: object bench-objects ## the same under the oldest kernel promised, beside Open vSwitch's kernel module
	@test -n "$(KERNEL_VM)" || { echo "bench-kernel: set KERNEL_VM to a command that runs its argument as root in a virtual machine" >&2; exit 1; }
	KERNEL_VM_SECONDS=$${KERNEL_VM_SECONDS:-3000} $(KERNEL_VM) \
		'$(VM_ENVIRONMENT); $(PYTHON) -m bench.kernel $(CASES)'

bench-objects:
	@scripts/setup bench
	@for name in redirect sink; do \
		$(PYTHON) -m vswitch.datapath.ebpf.compile -I $(dir $(OBJECT))bpf -o build/$$name.bpf.o bench/$$name.bpf.c || exit 1; done

wheel: setup ## build the wheel into dist/, with the eBPF object in it
	$(PYTHON) -m pip wheel -q --no-deps --no-build-isolation --wheel-dir dist .

setup: ## install what is missing: .venv and, with apt-get, programs that the tests run
	@scripts/setup

object: setup ## compile the eBPF object, if its sources changed
	@$(PYTHON) -m vswitch.datapath.ebpf.compile
	@$(PYTHON) -m compileall -q src # root writes no bytecode here, and each `vswitch` would compile anew

generate: setup ## write anew what follows from the sources: docs/fields.md, docs/openflow.md, docs/vsctl.md, docs/reference/, flow_key.h
	$(PYTHON) -m vswitch.fields.generate
	$(PYTHON) -m scripts.openflow_page
	$(PYTHON) -m scripts.vsctl_page
	$(PYTHON) -m scripts.reference
	$(PYTHON) -m vswitch.datapath.ebpf.generate

format: setup ## put the Python code in shape
	$(VENV)/bin/ruff check --fix-only -q
	$(VENV)/bin/ruff format

lint: setup ## ruff and mypy
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

clean: ## remove what was built; .venv stays
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache $(OBJECT)
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
