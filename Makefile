# SPDX-License-Identifier: GPL-2.0
#
# FUSE passthrough for Linux 6.1: the commands. 'make help' lists them.

BUILD ?= build
KIND ?= fast
BASE ?=
FORCE ?=
CONFIG ?=
FRAGMENT ?=
TESTS ?=
PROGRAMS ?=
FS ?= ext4
KERNEL ?=
SMP ?= 2
MEM ?= 2G
QEMU_ARGS ?=
LIMIT ?=
JOBS ?= $(shell nproc)
CMD ?=
PEER ?=
VERSION ?=
TREE ?=
OPS ?=
INPUTS ?=
SEED ?=
OPS_FAST ?= 200000
OPS_DEBUG ?= 20000
INPUTS_FAST ?= 150000
INPUTS_DEBUG ?= 50000
RACE_ROUNDS ?=
RACE_SECONDS ?=

export BUILD BASE FORCE CONFIG FRAGMENT TESTS FS KERNEL SMP MEM QEMU_ARGS JOBS
export CMD PROGRAMS OPS SEED OPS_FAST OPS_DEBUG RACE_ROUNDS RACE_SECONDS
export INPUTS INPUTS_FAST INPUTS_DEBUG

# Not exported empty: the scripts have their own defaults
ifneq ($(LIMIT),)
export LIMIT
endif

.PHONY: help
help:
	@echo 'FUSE passthrough for Linux 6.1'
	@echo
	@echo '  make demo           everything from nothing: a patched kernel, booted, that serves'
	@echo '                      a real tree through passthrough'
	@echo '  make check          everything from nothing: lint, builds, all tests in a VM'
	@echo
	@echo '  make tree           build/linux: the base and the series as a git tree'
	@echo '  make save           the commits in build/linux back to patches/ and the files here'
	@echo '  make kernel         build the patched kernel'
	@echo '  make kselftest      the kselftests in a VM, on a kernel that was built'
	@echo '  make torture        the data checker, the fuzzer and the races for long'
	@echo '  make programs       git, sqlite3, tar, make and fio through passthrough, compared with'
	@echo '                      plain ext4, in a VM on a kernel that was built'
	@echo '  make plain          real FUSE servers without passthrough: the same requests and'
	@echo '                      results as on the base, whose kernel is built, too'
	@echo '  make coverage       which lines and branches of the series the tests reach'
	@echo '  make bench          what passthrough costs: instructions, fio, memory, scaling;'
	@echo '                      make bench-readme puts the figures into README'
	@echo '  make rig-test       the tests of the rig itself'
	@echo '  make check-host     the same tests on the running kernel, as root'
	@echo "  make vm CMD='...'   run a command on the patched kernel with this machine's files"
	@echo '  make shell          the same, interactive'
	@echo '  make lint           checkpatch, sparse, W=1, coccicheck, shellcheck, kernel-doc'
	@echo '  make series         outgoing/: the series as mails, with cover letter and Cc list'
	@echo '  make apply TREE=... put the series on a 6.1.y tree of your own, a git repository or not;'
	@echo '                      make unapply takes it off again'
	@echo '  make check-series   every patch builds, in several configurations, without new warnings'
	@echo '  make check-bases    the series on every linux-source-6.1 that the archive offers'
	@echo '  make deb            Debian packages of the patched kernel, in build/deb, with the'
	@echo '                      configuration of the running 6.1 or of the stock kernel'
	@echo '  make check-deb      packages of a small kernel, booted, with the kselftests'
	@echo '  make check-apply    what make apply and make unapply do, and refuse to do'
	@echo '  make deps           install the packages that all this needs'
	@echo '  make clean          remove build/'
	@echo
	@echo 'Variables, with their current values:'
	@echo '  BASE=$(BASE)        version of linux-source-6.1 (empty: what is there, else the newest)'
	@echo '  FORCE=$(FORCE)        1: make tree and make save throw away edits on the other side'
	@echo '  KIND=$(KIND)        kernel: fast, debug, kcsan or off (make kselftest: debug unless given)'
	@echo '  CONFIG=$(CONFIG)        configuration file to build instead of the rig'"'"'s'
	@echo '  FRAGMENT=$(FRAGMENT)        configuration fragment to merge last'
	@echo '  TESTS=$(TESTS)        test programs to run (empty: all)'
	@echo '  PROGRAMS=$(PROGRAMS)        programs to run (empty: all)'
	@echo '  FS=$(FS)        backing file system: ext4, xfs, btrfs, tmpfs or overlay (make'
	@echo '              torture: all of them unless given)'
	@echo '  PEER=$(PEER)           1: make bench measures 6.12 of mainline beside it (for the'
	@echo '              other variables see the head of scripts/bench.sh)'
	@echo '  VERSION=$(VERSION)        number of the posting that make series writes (empty: 1)'
	@echo '  TREE=$(TREE)        tree of make apply and make unapply'
	@echo '  OPS=$(OPS) SEED=$(SEED)   of data_test: operations (empty: 5000), start of its random numbers'
	@echo '  INPUTS=$(INPUTS)        of fuzz_test: what is sent to the kernel (empty: 5000)'
	@echo '  OPS_FAST=$(OPS_FAST) OPS_DEBUG=$(OPS_DEBUG)   of make torture: operations on each kernel (0: none)'
	@echo '  INPUTS_FAST=$(INPUTS_FAST) INPUTS_DEBUG=$(INPUTS_DEBUG)   the same for the fuzzer'
	@echo '  RACE_ROUNDS=$(RACE_ROUNDS) RACE_SECONDS=$(RACE_SECONDS)   bounds of each test that races (empty: some seconds;'
	@echo '              make torture: 100000 rounds, 20 s; 0: none)'
	@echo '  KERNEL=$(KERNEL)        bzImage to boot (empty: that of KIND)'
	@echo '  SMP=$(SMP) MEM=$(MEM) QEMU_ARGS=$(QEMU_ARGS) LIMIT=$(LIMIT)   the VM: CPUs, memory, more, seconds'
	@echo '  JOBS=$(JOBS) BUILD=$(BUILD)   parallel jobs, build folder'

.PHONY: deps
deps:
	@scripts/deps.sh all

.PHONY: tree
tree:
	@scripts/tree.sh

.PHONY: save
save:
	@scripts/save.sh

.PHONY: kernel
kernel: tree
	@scripts/kernel.sh $(KIND)

.PHONY: kselftest
ifeq ($(origin KIND),file)
kselftest: KIND = debug
endif
kselftest:
	@KIND=$(KIND) scripts/kselftest.sh

.PHONY: torture
ifeq ($(origin FS),file)
torture: FS =
endif
torture:
	@scripts/torture.sh

.PHONY: programs
programs:
	@KIND=$(KIND) scripts/programs.sh

.PHONY: plain
plain:
	@scripts/kernel.sh base
	@KIND=$(KIND) scripts/plain.sh

.PHONY: coverage
coverage: tree
	@scripts/coverage.sh

.PHONY: rig-test
rig-test:
	@scripts/rig-test.sh

# OPS of the environment picks operations here, and FS the file systems
.PHONY: bench bench-readme
ifeq ($(origin FS),file)
bench: FS =
endif
bench: kernel
	@PEER='$(PEER)' scripts/bench.sh
bench-readme:
	@scripts/bench/report.py readme $(BUILD)/bench README.md \
		Documentation/bench.svg

.PHONY: check-host
check-host:
	@scripts/check-host.sh

.PHONY: vm
vm:
	@if [ -z "$$CMD" ]; then \
		echo "make vm: give a command, e.g. make vm CMD='uname -a';" \
			"for a shell, make shell" >&2; exit 1; \
	fi
	@KIND=$(KIND) scripts/vm.sh "$$CMD"

.PHONY: shell
shell:
	@KIND=$(KIND) scripts/vm.sh

.PHONY: lint
lint:
	@scripts/lint.sh

# Not exported: the kernel's Makefile has a VERSION of its own
.PHONY: series
series:
	@VERSION='$(VERSION)' scripts/series.sh

.PHONY: apply unapply
apply:
	@TREE='$(TREE)' scripts/apply.sh
unapply:
	@TREE='$(TREE)' scripts/apply.sh -R

.PHONY: check-series
check-series: tree
	@scripts/check-series.sh

.PHONY: check-bases
check-bases: tree
	@scripts/check-bases.sh

.PHONY: deb
deb: tree
	@scripts/deb.sh

.PHONY: check-deb
check-deb: tree
	@scripts/check-deb.sh

.PHONY: check-apply
check-apply: tree
	@scripts/check-apply.sh

.PHONY: demo
demo:
	@scripts/demo.sh

.PHONY: check
check:
	@scripts/check.sh

.PHONY: clean
clean:
	rm -rf $(BUILD)
