# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=dash disable=SC2016,SC2154 # for another shell; sabotage is of lib.sh
# The tour: all claims, in order. Addresses are those of network.sh.

config=/etc/config/dae

# Sets the addresses that an IP version has.
family() {
	if [ "$1" = 4 ]; then
		client=192.168.1.10 far=192.0.2.9 router=192.168.1.1 public=203.0.113.53 type=a
		plain=203.0.113.10 by_name=203.0.113.20 by_prefix=203.0.113.33 blocked=203.0.113.66
		own_dns=203.0.113.101 isp_dns=203.0.113.102 public_dns=203.0.113.103
	else
		client=2001:db8:1::10 far=2001:db8:2::9 router=2001:db8:1::1 public=2001:db8:113::53 type=aaaa
		plain=2001:db8:113::10 by_name=2001:db8:113::20 by_prefix=2001:db8:113::33
		blocked=2001:db8:113::66 own_dns=2001:db8:113::101 isp_dns=2001:db8:113::102
		public_dns=2001:db8:113::103
	fi
}

# Asks seldom, since that is work for the guest, too.
start() {
	local asked=0
	rm -f /notes/dae.log
	echo "MARK starting"
	# What is not wrong goes to standard output.
	peer stamped /notes/dae.log sh -c 'exec dae run >&2' &
	until [ "$sabotage" = no-dae ] || grep -q event=start /notes/dae.log; do
		if [ $asked -gt 60 ]; then
			echo "ERROR dae did not start; its log:"
			sed 's/^/ERROR /' /notes/dae.log
			return
		fi
		asked=$((asked + 1))
		sleep 1
	done
}

kill_dae() { kill "$1" "$(pidof dae)"; }
gone() { ! pidof dae; }
ended() { until_true 5 gone && echo yes; }

# Milliseconds from the start of the process to the hook, as the guest's clock sees it.
attached() { sed -n 's/^\([0-9]*\) .*event=kernel.attached.*/\1/p' /notes/dae.log | head -n 1; }
hook() { sed -n 's/.*event=kernel.attached device=br-lan hook=\([a-z]*\).*/\1/p' /notes/dae.log; }
memory() { sed -n "s/^$1:[ 	]*\([0-9]*\) kB/\1/p" "/proc/$(pidof dae)/status"; }
jited() { programs | sed -n 's/.*_\(dae_[a-z]*\)$/\1/p' | sort -u | tr '\n' ' '; }
on_device() { tc filter show dev br-lan ingress | grep -c ' id [0-9]'; }

shipped() {
	[ "$sabotage" != bad-file ] || echo "config nonsense" >>$config
	claim "the shipped configuration has no problems" 0 sh -c 'dae check >/notes/check 2>&1; echo $?'
	claim "the shipped configuration is disabled" disabled sh -c \
		'dae run 2>&1 | sed -n "s/.*event=\(disabled\).*/\1/p"'
	sed -i '/^config nonsense$/d' $config
}

configure() {
	sed -i -e "/config dae 'main'/,/^$/s/option enabled '0'/option enabled '1'/" \
		-e "s/option upstream 'asis'/option upstream 'isp'/" $config
	cat lab.uci >>$config
	awk 'BEGIN { for (i = 0; i < 10000; i++) printf "\tlist domain \"d%d.list%d.example\"\n", i, i % 7 }' >>$config
	cp network.uci /etc/config/network
	case $sabotage in
	no-dae) printf '#!/bin/sh\n[ "$1" != run ] || exec sleep 100000\n' >/usr/bin/dae ;;
	all-far)
		sed -i -e "s/option default_outbound 'direct'/option default_outbound 'far'/" \
			-e "/config dns 'dns'/,/^$/s/option enabled '1'/option enabled '0'/" \
			-e "s/option outbound 'block'/option outbound 'far'/" $config
		;;
	esac
}

flows() {
	for version in 4 6; do
		family $version
		claim "direct, IPv$version" $client fetch $plain
		claim "direct by UDP, IPv$version" $client echoed $plain 7
		claim "proxied by prefix, IPv$version" $far fetch $by_prefix
		claim "proxied by UDP, IPv$version" $far echoed $by_prefix 7
		claim "blocked, IPv$version" nobody nobody fetch $blocked
		claim "blocked by UDP, IPv$version" nobody nobody echoed $plain 443
	done
}

names() {
	for version in 4 6; do
		family $version
		for how in udp tcp; do
			claim "DNS of the router goes upstream, $how, IPv$version" $isp_dns \
				ask $router whoami-$how.example $type $how
			claim "DNS of others goes upstream, $how, IPv$version" $isp_dns \
				ask $public other-$how.example $type $how
		done
		claim "an upstream that truncates is asked by TCP, IPv$version" $isp_dns \
			ask $router truncated.v$version.example $type udp
		claim "an upstream that is silent is asked by TCP, IPv$version" $isp_dns \
			ask $router silent.v$version.example $type udp
		claim "a name has its address, IPv$version" $by_name ask $router proxied.example $type udp
		claim "proxied by name, IPv$version" $far fetch $by_name
	done
}

# The daemon is killed while a connection lives; what it left stays.
dead() {
	family 4
	at_client peer hold $plain 4 >/notes/hold 2>&1 &
	local holding=$!
	sleep 1
	kill_dae -9
	[ "$sabotage" != closed ] || ip link set br-lan down
	for version in 4 6; do
		family $version
		claim "dead: direct, IPv$version" $client fetch $plain
		claim "dead: what was proxied is direct, IPv$version" $client fetch $by_prefix
		claim "dead: the same by name, IPv$version" $client fetch $by_name
		claim "dead: UDP is direct, IPv$version" $client echoed $by_prefix 7
		claim "dead: nothing is blocked, IPv$version" $client fetch $blocked
		claim "dead: UDP is not blocked, IPv$version" $client echoed $plain 443
		for how in udp tcp; do
			claim "dead: DNS of the router is its own, $how, IPv$version" $own_dns \
				ask $router whoami-$how.example $type $how
			claim "dead: DNS of others is theirs, $how, IPv$version" $public_dns \
				ask $public other-$how.example $type $how
		done
	done
	wait $holding
	claim_at_most "killed: longest silence of a direct connection, ms" 1000 "$(cat /notes/hold)"
	[ "$sabotage" != closed ] || ip link set br-lan up
}

again() {
	start
	for version in 4 6; do
		family $version
		claim "started over the remains: proxied, IPv$version" $far fetch $by_prefix
		claim "started over the remains: DNS, IPv$version" $isp_dns \
			ask $public whoami-again.example $type udp
	done
	[ "$sabotage" != untidy ] || tc filter del dev br-lan ingress
	if [ "$(hook)" = clsact ]; then
		claim "started over the remains: programs on the device" 1 on_device
	fi
}

left() {
	[ "$sabotage" = untidy ] || kill_dae -15
	claim "it ends" yes ended
	snapshot >/notes/after
	claim "a stop leaves nothing" "" differences /notes/before /notes/after
}

# Some kernels can do without the compiler of BPF programs; dae turns it on where it is off. Who
# covers the switch with a file keeps it off.
interpreted() {
	local switch=/proc/sys/net/core/bpf_jit_enable
	[ "$(cat $switch)" = 0 ] || return
	echo 0 >/notes/switch
	[ "$sabotage" = tight ] || mount --bind /notes/switch $switch
	start
	umount $switch
	[ "$sabotage" != no-lan ] || ip link set br-lan down
	claim "interpreted: the program is not JITed" "" jited
	value interpreted yes
	for version in 4 6; do
		family $version
		claim "interpreted: direct, IPv$version" $client fetch $plain
		claim "interpreted: proxied, IPv$version" $far fetch $by_prefix
		claim "interpreted: proxied by UDP, IPv$version" $far echoed $by_prefix 7
	done
	kill_dae -15
	ended >/dev/null
}

numbers() {
	sleep 2
	claim_at_most "RSS idle, kB" "$(word rss_bound)" "$(memory VmRSS)"
	claim "hook" "$(word hook)" hook
	value hook "$(hook)"
	value jited "$(jited)"
	value clock_ms "$(attached)"
	value verified "$(sed -n "s/^verified_insns:[ 	]*//p" "/proc/$(pidof dae)"/fdinfo/* 2>/dev/null | tr "\n" " ")"
	value rss_kb "$(memory VmRSS)"
	value peak_kb "$(memory VmHWM)"
}

value kernel "$(uname -r)"
value btf "$([ -e /sys/kernel/btf/vmlinux ] && echo yes || echo no)"
sysctl -qw net.core.bpf_jit_kallsyms=1
shipped
configure
until_true 5 fetch 203.0.113.10
until_true 5 fetch 2001:db8:113::10
snapshot >/notes/before
echo "MARK reading"
dae check >/notes/check 2>&1 || sed 's/^/ERROR /' /notes/check
echo "MARK read"
start
numbers
claim "the program is JITed" dae_eth jited
[ "$sabotage" != no-lan ] || ip link set br-lan down
flows
names
[ "$sabotage" != no-lan ] || ip link set br-lan up
dead
again
left
interpreted
