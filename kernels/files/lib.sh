# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=dash
# Claims and values of a guest, and what is asked of its machines.

# The shell of busybox-static takes its own ip and tc, wherever others are.
ip() { /usr/sbin/ip "$@"; }
tc() { /usr/sbin/tc "$@"; }

# Words that the host puts on the kernel's command line.
word() { sed -n "s/.*\b$1=\([a-z0-9-]*\).*/\1/p" /proc/cmdline; }

# How this run is broken on purpose, so that claims are seen to fail; see kernels/run.
sabotage=$(word sabotage)

# claim TEXT EXPECTED COMMAND...: the command prints what was expected.
claim() {
	local text="$1" expected="$2" saw
	shift 2
	saw=$("$@" 2>&1 | tr '\n' ' ' | sed 's/ *$//')
	if [ "$saw" = "$expected" ]; then
		echo "PASS  $text -> $saw"
	else
		echo "FAIL  $text -> '$saw' and not '$expected'"
	fi
}

# claim_at_most TEXT BOUND NUMBER
claim_at_most() {
	[ "$sabotage" != tight ] || set -- "$1" 1 "$3"
	if [ -n "$3" ] && [ "$3" -le "$2" ]; then
		echo "PASS  $1 -> $3"
	else
		echo "FAIL  $1 -> '$3' and not at most $2"
	fi
}

# value NAME TEXT: for the table of the host.
value() { echo "VALUE $1 $2"; }

# nobody COMMAND...: "nobody" when it fails, else what it printed.
nobody() {
	local saw
	if saw=$("$@"); then
		echo "$saw"
	else
		echo nobody
	fi
}

# until_true SECONDS COMMAND...
until_true() {
	local tries=$(($1 * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $tries -gt 0 ] || return 1
		tries=$((tries - 1))
		usleep 100000
	done
}

at_client() { ip netns exec client "$@"; }
fetch() { at_client peer fetch "$1"; }
echoed() { at_client peer echo "$1" "$2"; }
ask() { at_client peer ask "$@"; }

# Everything that a program can leave behind on the router, as lines.
snapshot() {
	local device
	ip -o link
	ip -o address
	ip -4 rule
	ip -6 rule
	ip -4 route show table all
	ip -6 route show table all
	tc qdisc show
	for device in lo br-lan wan; do
		tc filter show dev $device ingress
		tc filter show dev $device egress
	done
	programs
	# What cannot be read has no value that could change.
	sysctl -a 2>/dev/null | grep '^net\.'
	find / -xdev -type f ! -path '/notes/*'
	find /tmp
	cat /etc/config/dae /etc/config/network
}

# Names of the JITed BPF programs.
programs() { sed -n 's/.* \(bpf_prog_[0-9a-f]*_[a-z_0-9]*\)\t.*/\1/p' /proc/kallsyms | sort; }

# What is in one snapshot and not in the other.
differences() {
	sort "$1" >/notes/one
	sort "$2" >/notes/other
	diff /notes/one /notes/other | grep '^[-+<>][^-+]'
}
