# SPDX-License-Identifier: Apache-2.0
# The front door. Meson and Ninja do the work; a target is a line or two that could be typed by hand.
# scripts/setup asks dpkg for the packages a target needs and installs with apt what is missing.

BUILD ?= build
PYTHON ?= /usr/bin/python3
MESON_OPTIONS ?=
DATA ?= glint-data
LISTEN ?= 127.0.0.1:9292
KILLS ?= 200
SECONDS ?= 20

.PHONY: all run demo test asan tsan fuzz crash faults attacks bench lint install deb deb-test clean help
.NOTPARALLEL:

all:
	@scripts/setup build
	@[ -f $(BUILD)/build.ninja ] || meson setup $(MESON_OPTIONS) $(BUILD)
	@ninja -C $(BUILD)

help:
	@echo "make           build glint            make test      every test"
	@echo "make run       build it and serve     make asan      the tests with address and UB sanitizers"
	@echo "make demo      a tour on real images  make tsan      the tests with the thread sanitizer"
	@echo "make bench     beside real Glance     make fuzz      every fuzz target [SECONDS=$(SECONDS)]"
	@echo "make install   [DESTDIR=]             make crash     kill -9 and look [KILLS=$(KILLS)]"
	@echo "make faults    each call fails once   make attacks   what must not work"
	@echo "make clean                            make lint      what review should not have to say"
	@echo "make deb       a Debian package       make deb-test  install, use and remove it, in a container"

run: all
	@$(PYTHON) scripts/run --glint $(BUILD)/glint --data-dir $(DATA) --listen $(LISTEN)

demo: all
	@scripts/setup demo
	@$(PYTHON) scripts/demo --glint $(BUILD)/glint --cache $(BUILD)/demo-images

test: all
	@scripts/setup test
	@$(PYTHON) scripts/test --build $(BUILD) --kills $(KILLS)

crash: all
	@scripts/setup test
	@$(PYTHON) scripts/test --build $(BUILD) --kills $(KILLS) crash

# FAULTS_ALL=1: every allocation, not a sample of them. ATTACKS=n: n times as much.
faults attacks: all
	@scripts/setup test
	@$(PYTHON) scripts/test --build $(BUILD) $@

# asan: address,undefined. A report of a sanitizer is a failure, wherever it was written.
asan tsan: SANITIZE = $(if $(filter asan,$@),address$(comma)undefined,thread)
asan tsan: comma := ,
asan tsan:
	@scripts/setup build test
	@[ -f $(BUILD)-$@/build.ninja ] || meson setup -Db_sanitize=$(SANITIZE) $(MESON_OPTIONS) $(BUILD)-$@
	@ninja -C $(BUILD)-$@
	@$(PYTHON) scripts/test --build $(BUILD)-$@ --kills 10 --sanitizer $@

fuzz:
	@scripts/setup build fuzz
	@[ -f $(BUILD)-fuzz/build.ninja ] || \
		CC=clang meson setup -Dfuzz=true -Dtests=disabled -Db_sanitize=address,undefined -Db_lundef=false \
			$(MESON_OPTIONS) $(BUILD)-fuzz
	@ninja -C $(BUILD)-fuzz
	@$(PYTHON) scripts/fuzz --build $(BUILD)-fuzz --seconds $(SECONDS)

bench:
	@scripts/setup build bench
	@[ -f $(BUILD)-bench/build.ninja ] || meson setup --buildtype=release $(MESON_OPTIONS) $(BUILD)-bench
	@ninja -C $(BUILD)-bench
	@$(PYTHON) bench/bench.py --glint $(BUILD)-bench/glint
	@$(PYTHON) bench/pages.py --glint $(BUILD)-bench/glint
	@$(PYTHON) bench/messaging.py --build $(BUILD)-bench
	@$(PYTHON) bench/imports.py --glint $(BUILD)-bench/glint
	@$(PYTHON) bench/identity.py --build $(BUILD)-bench

lint:
	@scripts/setup build lint
	@$(PYTHON) scripts/lint

install: all
	meson install -C $(BUILD)

# The directory is put together in $(BUILD)/deb, so the source stays as it is.
deb:
	@scripts/setup build deb
	@scripts/deb $(BUILD)

# In containers with the real systemd (root); the first run makes their Debian in $(BUILD)/deb-root.
deb-test: deb
	@GLINT_DEB=$$(ls $(CURDIR)/$(BUILD)/deb/glint_*.deb) $(PYTHON) -m pytest -q -p no:cacheprovider tests/packaging

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz $(BUILD)-bench
