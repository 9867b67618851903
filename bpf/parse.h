/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * From bytes to a flow key. Nothing here trusts a length: what does not fit, or is nested
 * deeper than we look, is DAE_COUNT_OTHER, which passes untouched.
 */
#ifndef DAE_PARSE_H
#define DAE_PARSE_H

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "dae.h"
#include "helpers.h"

#define VLAN_LEN 4
#define IP_FRAGMENT 0x3fff  /* of frag_off: more fragments, or an offset */
#define IP6_FRAGMENT 0xfff9 /* the same of a fragment header */
#define L4_LOOK 14          /* of a TCP header: ports and flags */
#define TCP_FLAGS 13
#define TCP_SYN 0x02
#define TCP_ACK 0x10

/* Linear bytes that the common packets need: Ethernet, VLAN tag, IPv6, the look into TCP. */
#define HEAD (ETH_HLEN + VLAN_LEN + sizeof(struct ipv6hdr) + L4_LOOK)

/* What parse() returns when there is a flow; anything else is an index of `counters`. */
#define PARSED (-1)

struct packet {
	struct dae_flow_key key;
	struct dae_mac mac; /* zero on a device without an Ethernet header */
	__u8 dscp;
	__u8 v6;
	__u8 fragment; /* ports are not known: 0 */
	__u8 syn;      /* TCP: SYN without ACK */
};

/* `len` bytes at `offset`, or NULL: read `in_place` where that is constant and the device has an
 * Ethernet header, else copied. Without that header the IP header is not aligned for the verifier
 * of machines that cannot load unaligned words (mips). */
static __always_inline const void *bytes_at(struct __sk_buff *skb, int in_place, __u32 offset, void *copy,
					    __u32 len)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;

	if (in_place)
		return data + offset + len <= end ? data + offset : 0;
	return bpf_skb_load_bytes(skb, offset, copy, len) ? 0 : copy;
}

/* IPv4 addresses that no flow through a router goes to: multicast, broadcast, 0/8, 127/8. */
static __always_inline int groupcast4(__be32 addr)
{
	__u8 first = addr & 0xff;

	return (first & 0xf0) == 0xe0 || addr == 0xffffffff || first == 0 || first == 127;
}

/* The same of IPv6: ff00::/8, ::1 and ::. */
static __always_inline int groupcast6(const __be32 *addr)
{
	return (addr[0] & 0xff) == 0xff || (!(addr[0] | addr[1] | addr[2]) && !(addr[3] & bswap32(~1u)));
}

/* ::ffff:0:0/96, which the flow key uses for IPv4. */
static __always_inline int mapped4(const __be32 *addr)
{
	return !(addr[0] | addr[1]) && addr[2] == bswap32(0xffff);
}

static __always_inline int has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP;
}

static __always_inline __u32 l4_least(__u8 proto)
{
	return proto == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
}

/* Whether the packet is for us to judge, then ports and flags; the caller has checked that the IP
 * packet has a whole L4 header, at `offset`. Ports and flags are read `in_place` only where the
 * offset is one of few constants: verifiers of 5.10 and 6.1 follow each value that it can have
 * through the rest of the program, five times as many instructions. The look at the flags is
 * checked by itself: the verifier of 6.1 does not see that of a TCP packet more than the ports has
 * been checked. */
static __always_inline int parse_l4(struct __sk_buff *skb, struct packet *p, int eth, int groupcast,
				    __u32 offset, int in_place)
{
	__be16 copy[2];
	const __be16 *ports;
	__u8 flags_copy;
	const __u8 *flags;

	if (groupcast || (eth && skb->pkt_type != PACKET_HOST))
		return DAE_COUNT_GROUPCAST;
	if (p->fragment)
		return PARSED;
	ports = bytes_at(skb, in_place, offset, copy, sizeof(copy));
	if (!ports)
		return DAE_COUNT_OTHER;
	p->key.src_port = ports[0];
	p->key.dst_port = ports[1];
	if (p->key.proto != IPPROTO_TCP)
		return PARSED;
	flags = bytes_at(skb, in_place, offset + TCP_FLAGS, &flags_copy, sizeof(flags_copy));
	if (!flags)
		return DAE_COUNT_OTHER;
	p->syn = (*flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	return PARSED;
}

static __always_inline int parse4(struct __sk_buff *skb, struct packet *p, int eth, __u32 l3)
{
	struct iphdr copy;
	const struct iphdr *ip = bytes_at(skb, eth, l3, &copy, sizeof(copy));
	__u32 header, total;

	if (!ip || ip->version != 4 || ip->ihl < 5 || !has_ports(ip->protocol))
		return DAE_COUNT_OTHER;
	header = ip->ihl * 4;
	total = bswap16(ip->tot_len);
	if (!total) /* more than 64 kB: GRO makes them */
		total = skb->len - l3;
	if (total > skb->len - l3 || total < header)
		return DAE_COUNT_OTHER;

	p->key.proto = ip->protocol;
	p->key.src.word[2] = p->key.dst.word[2] = bswap32(0xffff);
	p->key.src.word[3] = ip->saddr;
	p->key.dst.word[3] = ip->daddr;
	p->dscp = ip->tos >> 2;
	p->fragment = !!(ip->frag_off & bswap16(IP_FRAGMENT));
	if (!p->fragment && total < header + l4_least(ip->protocol))
		return DAE_COUNT_OTHER;
	if (likely(header == sizeof(*ip)))
		return parse_l4(skb, p, eth, groupcast4(ip->daddr), l3 + sizeof(*ip), eth);
	return parse_l4(skb, p, eth, groupcast4(ip->daddr), l3 + header, 0);
}

/* Where the walk over extension headers is. */
struct walk {
	__u32 offset;
	__u8 next;
};

/* Steps over one extension header; nonzero ends the walk. */
static __always_inline int step(struct __sk_buff *skb, struct packet *p, struct walk *walk)
{
	__u8 head[4];

	if (walk->next != IPPROTO_HOPOPTS && walk->next != IPPROTO_ROUTING && walk->next != IPPROTO_DSTOPTS &&
	    walk->next != IPPROTO_AH && walk->next != IPPROTO_FRAGMENT)
		return 1;
	if (bpf_skb_load_bytes(skb, walk->offset, head, sizeof(head)))
		return 1;
	if (walk->next == IPPROTO_FRAGMENT) {
		p->fragment = !!((head[2] << 8 | head[3]) & IP6_FRAGMENT);
		walk->offset += 8;
	} else if (walk->next == IPPROTO_AH) {
		walk->offset += (head[1] + 2) * 4;
	} else {
		walk->offset += (head[1] + 1) * 8;
	}
	walk->next = head[0];
	/* Later fragments have no more headers, so those of the first do not count either. */
	return p->fragment;
}

static __always_inline int parse6(struct __sk_buff *skb, struct packet *p, int eth, __u32 l3)
{
	struct ipv6hdr copy;
	const struct ipv6hdr *ip = bytes_at(skb, eth, l3, &copy, sizeof(copy));
	struct walk walk;
	__u32 end;

	if (!ip || ip->version != 6)
		return DAE_COUNT_OTHER;
	walk.offset = l3 + sizeof(*ip);
	walk.next = ip->nexthdr;
	end = walk.offset + bswap16(ip->payload_len);
	if (end == walk.offset) /* a jumbogram: GRO makes them */
		end = skb->len;
	if (end > skb->len)
		return DAE_COUNT_OTHER;

	__builtin_memcpy(&p->key.src, &ip->saddr, sizeof(p->key.src));
	__builtin_memcpy(&p->key.dst, &ip->daddr, sizeof(p->key.dst));
	p->dscp = (ip->priority << 2 | ip->flow_lbl[0] >> 6) & (DAE_DSCPS - 1);
	p->v6 = 1;
	if (mapped4(p->key.src.word) || mapped4(p->key.dst.word))
		return DAE_COUNT_OTHER;
	if (likely(has_ports(walk.next))) {
		p->key.proto = walk.next;
		if (walk.offset + l4_least(walk.next) > end)
			return DAE_COUNT_OTHER;
		return parse_l4(skb, p, eth, groupcast6(p->key.dst.word), walk.offset, eth);
	}
	/* Written out: six headers at most, and no loop for the verifier. */
	(void)(step(skb, p, &walk) || step(skb, p, &walk) || step(skb, p, &walk) || step(skb, p, &walk) ||
	       step(skb, p, &walk) || step(skb, p, &walk));
	if (!has_ports(walk.next))
		return DAE_COUNT_OTHER;
	p->key.proto = walk.next;
	if (walk.offset + (p->fragment ? 0 : l4_least(walk.next)) > end)
		return DAE_COUNT_OTHER;
	return parse_l4(skb, p, eth, groupcast6(p->key.dst.word), walk.offset, 0);
}

/* Protocol of what follows the Ethernet header and at most one VLAN tag, and where; 0: not IP. */
static __always_inline __be16 parse_ether(struct __sk_buff *skb, struct packet *p, __u32 *l3)
{
	const struct ethhdr *head;
	const __be16 *tag;

	if (unlikely(skb->data + HEAD > skb->data_end && skb->len > skb->data_end - skb->data))
		bpf_skb_pull_data(skb, skb->len < HEAD ? skb->len : HEAD);
	head = bytes_at(skb, 1, 0, 0, sizeof(*head));
	if (!head)
		return 0;
	__builtin_memcpy(p->mac.addr, head->h_source, ETH_ALEN);
	*l3 = ETH_HLEN;
	if (likely(head->h_proto != bswap16(ETH_P_8021Q) && head->h_proto != bswap16(ETH_P_8021AD)))
		return head->h_proto;
	tag = bytes_at(skb, 1, ETH_HLEN, 0, VLAN_LEN);
	if (!tag || skb->vlan_present) /* the kernel took a tag off already: two are too many */
		return 0;
	*l3 = ETH_HLEN + VLAN_LEN;
	return tag[1];
}

/* PARSED, or the fate of a packet that is none of our business. `eth`: the device has an
 * Ethernet header; those without have no other hosts and no groups. */
static __always_inline int parse(struct __sk_buff *skb, struct packet *p, int eth)
{
	__be16 proto = bswap16(ETH_P_IPV6);
	__u8 version = 0;
	__u32 l3 = 0;

	if (eth) {
		proto = parse_ether(skb, p, &l3);
	} else {
		bpf_skb_load_bytes(skb, 0, &version, sizeof(version));
		if (version >> 4 == 4)
			proto = bswap16(ETH_P_IP);
	}
	if (proto == bswap16(ETH_P_IP))
		return parse4(skb, p, eth, l3);
	if (proto == bswap16(ETH_P_IPV6))
		return parse6(skb, p, eth, l3);
	return DAE_COUNT_OTHER;
}

#endif
