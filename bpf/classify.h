/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Which rule decides: one look-up per dimension gives a bit vector of the rules that do not
 * reject the value; the lowest bit left in all of them is the rule. src/rules/image.rs makes
 * the tables.
 */
#ifndef DAE_CLASSIFY_H
#define DAE_CLASSIFY_H

#include "maps.h"
#include "parse.h"

/* Index of the lowest bit; `word` is not 0. By halves: there is no such instruction, and a
 * multiplication of 64 bits is dear on mips. */
static __always_inline __u32 lowest_bit(__u64 word)
{
	__u32 half = word, bit = 0;

	if (!half) {
		half = word >> 32;
		bit = 32;
	}
	if (!(half & 0xffff)) {
		half >>= 16;
		bit += 16;
	}
	if (!(half & 0xff)) {
		half >>= 8;
		bit += 8;
	}
	if (!(half & 0xf)) {
		half >>= 4;
		bit += 4;
	}
	if (!(half & 0x3)) {
		half >>= 2;
		bit += 2;
	}
	return bit + !(half & 1);
}

static __always_inline void narrow(struct dae_vector *left, __u32 index)
{
	const struct dae_vector *vector;

	if (index == DAE_VECTOR_ALL)
		return;
	vector = bpf_map_lookup_elem(&vectors, &index);
	if (!vector)
		return;
	left->word[0] &= vector->word[0];
	left->word[1] &= vector->word[1];
	left->word[2] &= vector->word[2];
	left->word[3] &= vector->word[3];
}

static __always_inline int asked(const struct dae_settings *s, enum dae_table table)
{
	return s->asked & (1u << table);
}

static __always_inline __u32 vector_of(void *map, const void *key, __u32 miss)
{
	const __u32 *index = bpf_map_lookup_elem(map, key);

	return index ? *index : miss;
}

static __always_inline __u32 port_vector(void *map, __be16 port, __u32 miss)
{
	__u32 number = bswap16(port), group = number / 4;
	const struct dae_ports *ports = bpf_map_lookup_elem(map, &group);

	return ports ? ports->vector[number % 4] : miss;
}

/* Where the walk down a trie is: the address' bits still to come, first ones highest, and what
 * the bits so far lead to. */
struct descent {
	__u32 bits;
	__u32 child;
};

/* Takes one step down; zero ends the walk. */
static __always_inline int descend(void *map, struct descent *d)
{
	__u32 index = d->child & ~DAE_NODE_INNER;
	const struct dae_node *node = bpf_map_lookup_elem(map, &index);

	if (!node)
		return 0;
	d->child = node->child[d->bits >> 28];
	d->bits <<= 4;
	return d->child & DAE_NODE_INNER;
}

static __always_inline __u32 longest4(void *map, __be32 addr)
{
	struct descent d = { .bits = bswap32(addr), .child = DAE_NODE_INNER };

	/* Eight times four bits. */
	(void)(descend(map, &d) && descend(map, &d) && descend(map, &d) && descend(map, &d) && descend(map, &d) &&
	       descend(map, &d) && descend(map, &d) && descend(map, &d));
	return d.child;
}

static __always_inline __u32 longest6(void *map, const struct dae_addr *addr, __u32 miss)
{
	struct dae_net6 net = { .prefix_len = 128 };

	__builtin_memcpy(net.addr, addr, sizeof(net.addr));
	return vector_of(map, &net, miss);
}

static __always_inline __u32 kind_of(const struct packet *p)
{
	return (p->key.proto == IPPROTO_UDP ? DAE_KIND_UDP : 0) | (p->v6 ? DAE_KIND_V6 : 0);
}

/* Number of the rule that decides, DAE_RULES for the default. `names`: the vector of the
 * destination's names. */
static __always_inline __u32 classify(struct __sk_buff *skb, const struct packet *p, const struct dae_settings *s,
				      __u32 names, int eth)
{
	struct dae_vector left = { { ~0ull, ~0ull, ~0ull, ~0ull } };
	__u32 ifindex = skb->ifindex;
	__u32 index;

	narrow(&left, s->kind[kind_of(p)]);
	narrow(&left, s->dscp[p->dscp % DAE_DSCPS]);
	narrow(&left, names);
	index = s->miss[DAE_TABLE_SRC_PORT];
	if (asked(s, DAE_TABLE_SRC_PORT))
		index = port_vector(&src_ports, p->key.src_port, index);
	narrow(&left, index);
	index = s->miss[DAE_TABLE_DST_PORT];
	if (asked(s, DAE_TABLE_DST_PORT))
		index = port_vector(&dst_ports, p->key.dst_port, index);
	narrow(&left, index);
	index = s->miss[DAE_TABLE_SRC];
	if (asked(s, DAE_TABLE_SRC))
		index = p->v6 ? longest6(&src6, &p->key.src, index) : longest4(&src4, p->key.src.word[3]);
	narrow(&left, index);
	index = s->miss[DAE_TABLE_DST];
	if (asked(s, DAE_TABLE_DST))
		index = p->v6 ? longest6(&dst6, &p->key.dst, index) : longest4(&dst4, p->key.dst.word[3]);
	narrow(&left, index);
	index = s->miss[DAE_TABLE_MAC];
	if (eth && asked(s, DAE_TABLE_MAC))
		index = vector_of(&macs, &p->mac, index);
	narrow(&left, index);
	index = s->miss[DAE_TABLE_INTERFACE];
	if (asked(s, DAE_TABLE_INTERFACE))
		index = vector_of(&interfaces, &ifindex, index);
	narrow(&left, index);

	if (left.word[0])
		return lowest_bit(left.word[0]);
	if (left.word[1])
		return 64 + lowest_bit(left.word[1]);
	if (left.word[2])
		return 128 + lowest_bit(left.word[2]);
	if (left.word[3])
		return 192 + lowest_bit(left.word[3]);
	return DAE_RULES;
}

#endif
