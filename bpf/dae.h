/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * What the BPF program and the daemon share: the bytes of every map. The mirror is
 * src/kernel/abi.rs; sizes and offsets are asserted there, and a test holds both
 * against the compiled object. Fixed-size fields only, padding written out.
 */
#ifndef DAE_H
#define DAE_H

#include <linux/types.h>

#define DAE_RULES 256   /* rules a configuration may have */
#define DAE_WORDS 4     /* DAE_RULES / 64 */
#define DAE_VECTORS 4096 /* distinct bit vectors, all dimensions together */

/* Index of the vector that says "no rule rejects this value": skipped, never looked up. */
#define DAE_VECTOR_ALL 0

/* Dimensions with a table of their own, whose values are indices into `vectors`. */
enum dae_table {
	DAE_TABLE_SRC,
	DAE_TABLE_DST,
	DAE_TABLE_NAME,
	DAE_TABLE_MAC,
	DAE_TABLE_INTERFACE,
	DAE_TABLE_SRC_PORT,
	DAE_TABLE_DST_PORT,
	DAE_TABLES = 8,
};

/* Values of `hosts`: an index into `vectors`, or that no name is known; and whether the
 * address is the router's own. */
#define DAE_HOST_NAMELESS 0xffff
#define DAE_HOST_OWN 0x10000

/* Protocol and IP version, one dimension: index DAE_KIND_UDP | DAE_KIND_V6. */
#define DAE_KIND_UDP 1
#define DAE_KIND_V6 2
#define DAE_KINDS 4

#define DAE_DSCPS 64

/* Bit i: rule i does not reject this value. */
struct dae_vector {
	__u64 word[DAE_WORDS];
};

/* A node of the IPv4 tries: by the next four bits of the address, an index into `vectors`, or
 * with DAE_NODE_INNER the index of the next node. Node 0 is the root. Several times faster
 * than the kernel's trie, which compares bit by bit and is for IPv6 only. */
#define DAE_NODE_INNER 0x80000000
struct dae_node {
	__u32 child[16];
};

/* Key of the kernel's tries; prefix_len in bits of addr, addr in network order. */
struct dae_net6 {
	__u32 prefix_len;
	__u8 addr[16];
};

/* Network order. IPv4 is written ::ffff:a.b.c.d here. */
struct dae_addr {
	__be32 word[4];
};

struct dae_mac {
	__u8 addr[6];
	__u8 pad[2];
};

/* Four 16-bit vector indices: ports 4k to 4k+3. Arrays round values up to 8 bytes. */
struct dae_ports {
	__u16 vector[4];
};

enum dae_action {
	DAE_DIRECT = 0,
	DAE_BLOCK = 1,
	DAE_PROXY = 2,
};

/* What a rule decides; entry DAE_RULES is the default. */
struct dae_verdict {
	__u32 mark;     /* for direct: the packet's new mark, 0 leaves it alone */
	__u16 outbound; /* for proxy: index of the outbound, see Config::outbounds */
	__u8 action;
	__u8 pad;
};

struct dae_flow_key {
	struct dae_addr src;
	struct dae_addr dst;
	__be16 src_port;
	__be16 dst_port;
	__u8 proto; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 pad[3];
};

struct dae_flow {
	__u32 mark;
	__u32 epoch;    /* settings.epoch when last used */
	__u16 counter;  /* index into `counters`: the rule, DAE_RULES, or a DAE_COUNT_* fate */
	__u16 outbound;
	__u8 action;
	__u8 pad[3];
};

/* Entry 0 of `settings`. */
struct dae_settings {
	/* Advanced by the daemon every 60 s; a UDP flow unused for two epochs is decided anew. */
	__u32 epoch;
	__u32 deliver_mark; /* set on packets handed to our sockets; a policy rule makes them local */
	__u32 own_mark;     /* SO_MARK of every socket of the daemon, proof that a listener is ours */
	__u32 dns;          /* 1: port 53 is ours, 0: it is a flow like any other */
	__u32 closed;       /* 1: the kill switch is on: what nobody takes is dropped */
	/* Loopback ports of our listeners, host order, index DAE_PORT_*; 0: none. */
	__u16 port[8];
	/* Vectors of the small dimensions, here because this entry is at hand anyway. The
	 * vector of what a table does not hold, and bit by bit whether it is worth asking. */
	__u32 asked;
	__u16 miss[DAE_TABLES];
	__u16 kind[DAE_KINDS];
	__u16 dscp[DAE_DSCPS];
};

/* Index into `port`: a kind, and whether the listener is the resolver's. */
#define DAE_PORT_DNS 4
#define DAE_PORTS 8

struct dae_counter {
	__u64 packets;
	__u64 bytes;
};

/* Indices of `counters` behind the rules and the default. */
enum dae_count {
	DAE_COUNT_DEFAULT = DAE_RULES,
	DAE_COUNT_DNS,        /* handed to our DNS sockets */
	DAE_COUNT_LOCAL,      /* to an address of the router itself: passed */
	DAE_COUNT_GROUPCAST,  /* broadcast, multicast, or not for this host: passed */
	DAE_COUNT_OTHER,      /* not TCP or UDP, malformed, or nested deeper than we look: passed */
	DAE_COUNT_MIDSTREAM,  /* TCP that was under way before us: passed */
	DAE_COUNT_RESUMED,    /* TCP of ours that the flow cache has forgotten: handed to its socket */
	DAE_COUNT_FRAGMENT,   /* fragment of a flow that a rule sends to a proxy: dropped */
	DAE_COUNT_FAIL_OPEN,  /* ours to handle, but no socket of ours took it: passed */
	DAE_COUNT_FLOW_FULL,  /* the flow cache took no entry */
	DAE_COUNT_FAIL_CLOSED, /* ours to handle, nobody took it, and the kill switch is on: dropped */
	DAE_COUNTERS,
};

#endif
