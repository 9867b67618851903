# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=dash
# Who is where. The router is this machine itself, the others are namespaces.
#
#	client            router                       internet                  proxy
#	eth0 192.168.1.10 -- br-lan 192.168.1.1        isp 198.51.100.1, .53
#	                     wan 198.51.100.2 -------  lo 203.0.113.x
#	                                               hosting 192.0.2.1 ------- eth0 192.0.2.9
#
# IPv6 is the same with 2001:db8:1::, 2001:db8:100::, 2001:db8:113:: and 2001:db8:2::.

# cable DEVICE NAMESPACE DEVICE
cable() {
	ip link add "$1" type veth peer name "$3" netns "$2"
	ip link set "$1" up
	ip -n "$2" link set "$3" up
}

# address NAMESPACE|- DEVICE IPV4 IPV6
address() {
	local there=
	[ "$1" = - ] || there="-n $1"
	# shellcheck disable=SC2086
	ip $there address add "$3" dev "$2"
	# shellcheck disable=SC2086
	ip $there address add "$4" dev "$2"
}

sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
ip link set lo up
for name in client internet proxy; do
	ip netns add $name
	ip netns exec $name sysctl -qw net.ipv6.conf.default.accept_dad=0
	ip -n $name link set lo up
done
cable br-lan client eth0
cable wan internet isp
ip -n internet link add hosting type veth peer name eth0 netns proxy
ip -n internet link set hosting up
ip -n proxy link set eth0 up

address - br-lan 192.168.1.1/24 2001:db8:1::1/64
address client eth0 192.168.1.10/24 2001:db8:1::10/64
address - wan 198.51.100.2/24 2001:db8:100::2/64
address internet isp 198.51.100.1/24 2001:db8:100::1/64
address internet isp 198.51.100.53/24 2001:db8:100::53/64
address internet hosting 192.0.2.1/24 2001:db8:2::1/64
address proxy eth0 192.0.2.9/24 2001:db8:2::9/64
for number in 10 20 33 53 66; do
	address internet lo 203.0.113.$number/32 2001:db8:113::$number/128
done
ip -n client route add default via 192.168.1.1
ip -n client route add default via 2001:db8:1::1
ip route add default via 198.51.100.1
ip route add default via 2001:db8:100::1
ip -n internet route add 192.168.1.0/24 via 198.51.100.2
ip -n internet route add 2001:db8:1::/64 via 2001:db8:100::2
ip -n proxy route add default via 192.0.2.1
ip -n proxy route add default via 2001:db8:2::1
for name in - internet; do
	there=
	[ $name = - ] || there="ip netns exec $name"
	$there sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
done

# Each DNS server answers with addresses that tell which one it is.
peer dns 203.0.113.101 2001:db8:113::101 192.168.1.1 2001:db8:1::1 >/notes/dns.log 2>&1 &
ip netns exec internet peer dns 203.0.113.102 2001:db8:113::102 \
	198.51.100.53 2001:db8:100::53 >>/notes/dns.log 2>&1 &
ip netns exec internet peer dns 203.0.113.103 2001:db8:113::103 \
	203.0.113.53 2001:db8:113::53 >>/notes/dns.log 2>&1 &
ip netns exec internet peer serve 203.0.113.10 203.0.113.20 203.0.113.33 203.0.113.66 \
	2001:db8:113::10 2001:db8:113::20 2001:db8:113::33 2001:db8:113::66 >/notes/serve.log 2>&1 &
ip netns exec proxy peer socks 192.0.2.9 >/notes/socks.log 2>&1 &
