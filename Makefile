# SPDX-License-Identifier: Apache-2.0 OR MIT
# The work is done by scripts/, cross/build, lab/run and kernels/run.

.PHONY: help build dist lab test test-kernels lint fuzz size reproduce bench soak

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

build: ## the daemon for this machine, at target/release/dae
	@scripts/packages build
	cargo build --release --locked

dist: ## router binaries, packages and signed feeds in dist/ (docs/openwrt.md)
	@scripts/packages build cross openwrt
	@cross/build aarch64 mipsel x86_64 mipsel-mini
	@scripts/size
	@scripts/feed

lab: ## a home network in namespaces: what works, shown on the wire; needs root
	@scripts/packages build lab
	cargo build --release --locked
	python3 lab/run --dae target/release/dae

test: ## everything: lint, tests, the lab under each hook, cross builds; needs root
	@scripts/test

test-kernels: ## the packages on older kernels of mipsel, aarch64 and x86_64, emulated
	@scripts/packages build cross openwrt kernels
	@cross/build aarch64 mipsel x86_64
	@scripts/feed --out target/feed
	@cross/build --peer aarch64 mipsel x86_64
	@kernels/run

lint: ## form, warnings and boundaries of the code
	@scripts/packages build lint
	@scripts/lint

fuzz: ## random input for ten minutes
	@scripts/packages build fuzz
	@scripts/fuzz 600

size: ## sizes of the router binaries against their budget
	@scripts/packages build cross
	@cross/build aarch64 mipsel x86_64 mipsel-mini
	@scripts/size

reproduce: ## whether two builds in two folders have the same bytes
	@scripts/packages build cross openwrt
	@scripts/reproducible

bench: ## cost of packets, DNS answers, proxied flows, a start; needs root
	@scripts/packages build lab bench cross
	cargo build --release --locked
	@cross/build $(shell uname -m)
	@scripts/bench

# The binary of routers: musl gives memory back that glibc keeps.
soak: ## flows, dying nodes and reloads for 20 minutes; needs root
	@scripts/packages build lab cross
	@cross/build $(shell uname -m)
	cargo build --release --locked --example flow_peers
	python3 lab/soak.py --dae dist/$(shell uname -m)/dae --seconds 1200
