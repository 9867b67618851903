/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * tc ingress of the LAN devices: dae_eth where packets begin with an Ethernet header, dae_ip
 * where they begin with the IP header (WireGuard, tun). A packet's way: parse, flow cache,
 * classify, act.
 *
 * Whatever is not a plain pass first finds a socket of the daemon by look-up. A dead daemon
 * is not found, and the packet passes as if we were not here; or, with the kill switch on,
 * what we would take is dropped, and all else that rules say still holds.
 */
#include <linux/pkt_cls.h>

#include "classify.h"

#define TCP_LISTENING 10 /* TCP_LISTEN of the kernel's net/tcp_states.h */
#define DNS_PORT 53
#define STALE_EPOCHS 2
#define THIS_NETNS ((__u64)(__s32)BPF_F_CURRENT_NETNS)

/* Other programs on the device still run. */
#define PASS TC_ACT_UNSPEC

/* What was decided about a packet, and by what it is counted. */
struct decision {
	__u32 mark;
	__u32 counter;
	__u8 action;
	__u8 dns;
	__u8 full;      /* the flow cache took no entry */
	__u8 under_way; /* TCP that the flow cache does not know; only the kill switch asks rules then */
};

static __always_inline __u32 tuple_size(int v6)
{
	return v6 ? sizeof(((struct bpf_sock_tuple *)0)->ipv6) : sizeof(((struct bpf_sock_tuple *)0)->ipv4);
}

/* Our listener for packets like this one, with a reference to give back, or NULL. */
static __always_inline struct bpf_sock *listener(struct __sk_buff *skb, const struct packet *p,
						 const struct dae_settings *s, int dns)
{
	struct bpf_sock_tuple tuple = {};
	__u16 port = s->port[kind_of(p) | (dns ? DAE_PORT_DNS : 0)];
	struct bpf_sock *sk;

	if (!port)
		return 0;
	if (p->v6) {
		tuple.ipv6.daddr[3] = bswap32(1);
		tuple.ipv6.dport = bswap16(port);
	} else {
		tuple.ipv4.daddr = bswap32(0x7f000001);
		tuple.ipv4.dport = bswap16(port);
	}
	if (p->key.proto == IPPROTO_TCP)
		sk = bpf_sk_lookup_tcp(skb, &tuple, tuple_size(p->v6), THIS_NETNS, 0);
	else
		sk = bpf_sk_lookup_udp(skb, &tuple, tuple_size(p->v6), THIS_NETNS, 0);
	if (!sk)
		return 0;
	if (sk->mark == s->own_mark)
		return sk;
	bpf_sk_release(sk);
	return 0;
}

/* The TCP socket of exactly this connection, with a reference, or NULL: established, half
 * open, or in TIME_WAIT, which alone can answer a SYN that reuses the port. */
static __always_inline struct bpf_sock *connection(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;

	if (p->v6) {
		__builtin_memcpy(tuple.ipv6.saddr, &p->key.src, sizeof(p->key.src));
		__builtin_memcpy(tuple.ipv6.daddr, &p->key.dst, sizeof(p->key.dst));
		tuple.ipv6.sport = p->key.src_port;
		tuple.ipv6.dport = p->key.dst_port;
	} else {
		tuple.ipv4.saddr = p->key.src.word[3];
		tuple.ipv4.daddr = p->key.dst.word[3];
		tuple.ipv4.sport = p->key.src_port;
		tuple.ipv4.dport = p->key.dst_port;
	}
	sk = bpf_skc_lookup_tcp(skb, &tuple, tuple_size(p->v6), THIS_NETNS, 0);
	if (!sk)
		return 0;
	if (sk->state != TCP_LISTENING)
		return sk;
	bpf_sk_release(sk);
	return 0;
}

/* Hands the packet to `sk` and gives the reference back. Zero: the kernel would not. */
static __always_inline int assign(struct __sk_buff *skb, const struct dae_settings *s, struct bpf_sock *sk)
{
	long error = bpf_sk_assign(skb, sk, 0);

	bpf_sk_release(sk);
	if (error)
		return 0;
	skb->mark |= s->deliver_mark;
	return 1;
}

enum { RESUMED, NO_CONNECTION, NOT_OURS, REFUSED };

/* Gives a TCP packet to the connection it belongs to. */
static __always_inline int resume(struct __sk_buff *skb, const struct packet *p, const struct dae_settings *s)
{
	struct bpf_sock *sk = connection(skb, p), *full;

	if (!sk)
		return NO_CONNECTION;
	/* One that is no full socket has no mark; whosever it is, it is the right receiver. */
	full = bpf_sk_fullsock(sk);
	if (full && full->mark != s->own_mark) {
		bpf_sk_release(sk);
		return NOT_OURS;
	}
	return assign(skb, s, sk) ? RESUMED : REFUSED;
}

static __always_inline void remember(const struct packet *p, const struct dae_settings *s, struct decision *d,
				     __u32 outbound)
{
	struct dae_flow flow = {
		.mark = d->mark,
		.epoch = s->epoch,
		.counter = d->counter,
		.outbound = outbound,
		.action = d->action,
	};

	d->full = bpf_map_update_elem(&flows, &p->key, &flow, BPF_ANY) != 0;
}

/* Decides by the flow cache, else by the rules. Zero: pass, d->counter says why. */
static __always_inline int decide(struct __sk_buff *skb, const struct packet *p, const struct dae_settings *s,
				  struct decision *d, int eth)
{
	const struct dae_verdict *verdict;
	struct dae_flow *flow = 0;
	const __u32 *host;
	__u32 names;

	if (p->key.dst_port == bswap16(DNS_PORT) && s->dns) {
		d->action = DAE_PROXY;
		d->counter = DAE_COUNT_DNS;
		d->dns = 1;
		return 1;
	}
	if (!p->fragment && !p->syn)
		flow = bpf_map_lookup_elem(&flows, &p->key);
	if (flow && (p->key.proto == IPPROTO_TCP || s->epoch - flow->epoch < STALE_EPOCHS)) {
		d->mark = flow->mark;
		d->counter = flow->counter;
		d->action = flow->action;
		if (flow->epoch != s->epoch)
			flow->epoch = s->epoch;
		return 1;
	}
	host = bpf_map_lookup_elem(&hosts, &p->key.dst);
	names = host ? *host : DAE_HOST_NAMELESS;
	if (names & DAE_HOST_OWN) {
		d->counter = DAE_COUNT_LOCAL;
		return 0;
	}
	if (p->key.proto == IPPROTO_TCP && !p->syn && !p->fragment) {
		if (!s->closed) {
			d->action = DAE_PROXY;
			d->counter = DAE_COUNT_RESUMED;
			return 1;
		}
		d->under_way = 1;
	}
	if (names == DAE_HOST_NAMELESS)
		names = s->miss[DAE_TABLE_NAME];
	d->counter = classify(skb, p, s, names, eth);
	verdict = bpf_map_lookup_elem(&verdicts, &d->counter);
	if (!verdict)
		return 0;
	d->mark = verdict->mark;
	d->action = verdict->action;
	if (!p->fragment && !d->under_way)
		remember(p, s, d, verdict->outbound);
	return 1;
}

/* No socket of ours takes what it should. */
static __always_inline int nobody(const struct dae_settings *s, struct decision *d)
{
	d->counter = s->closed ? DAE_COUNT_FAIL_CLOSED : DAE_COUNT_FAIL_OPEN;
	return s->closed ? TC_ACT_SHOT : PASS;
}

/* Carries the decision out. Returns what tc is told; d->counter may change. */
static __always_inline int act(struct __sk_buff *skb, const struct packet *p, const struct dae_settings *s,
			       struct decision *d)
{
	struct bpf_sock *sk;

	if (d->action == DAE_DIRECT && !d->mark && !d->under_way)
		return PASS;
	if ((d->action == DAE_PROXY || d->under_way) && p->key.proto == IPPROTO_TCP && !p->fragment) {
		int resumed = resume(skb, p, s);

		if (resumed == RESUMED)
			return TC_ACT_OK;
		if (resumed == REFUSED && s->closed)
			return nobody(s, d);
		/* A connection of which we know nothing began before us, or with dnsmasq. */
		if (resumed == NOT_OURS || resumed == REFUSED ||
		    (!p->syn && d->counter >= DAE_COUNT_DNS && !s->closed)) {
			d->action = DAE_DIRECT;
			d->counter = DAE_COUNT_MIDSTREAM;
			if (!d->dns)
				remember(p, s, d, 0);
			return PASS;
		}
	}
	if (d->under_way && d->action == DAE_DIRECT) {
		remember(p, s, d, 0);
		if (!d->mark)
			return PASS;
	}
	sk = listener(skb, p, s, d->dns);
	if (d->action == DAE_PROXY && !p->fragment) {
		if (sk && assign(skb, s, sk))
			return TC_ACT_OK;
		return nobody(s, d);
	}
	if (sk)
		bpf_sk_release(sk);
	else if (!s->closed)
		return nobody(s, d);
	if (d->action == DAE_DIRECT) {
		skb->mark = d->mark;
		return PASS;
	}
	if (d->action == DAE_PROXY)
		d->counter = DAE_COUNT_FRAGMENT;
	return TC_ACT_SHOT;
}

static __always_inline void count(struct __sk_buff *skb, __u32 index)
{
	struct dae_counter *counter = bpf_map_lookup_elem(&counters, &index);
	__u32 segments = skb->gso_segs;

	if (!counter)
		return;
	counter->packets += segments ? segments : 1;
	counter->bytes += skb->len;
}

static __always_inline int handle(struct __sk_buff *skb, int eth)
{
	struct packet p = {};
	struct decision d = {};
	const struct dae_settings *s;
	__u32 zero = 0;
	int found, told = PASS;

	s = bpf_map_lookup_elem(&settings, &zero);
	if (!s)
		return PASS;
	found = parse(skb, &p, eth);
	if (found != PARSED)
		d.counter = found;
	else if (decide(skb, &p, s, &d, eth))
		told = act(skb, &p, s, &d);

	count(skb, d.counter);
	if (unlikely(d.full))
		count(skb, DAE_COUNT_FLOW_FULL);
	return told;
}

SEC("classifier")
int dae_eth(struct __sk_buff *skb)
{
	return handle(skb, 1);
}

SEC("classifier")
int dae_ip(struct __sk_buff *skb)
{
	return handle(skb, 0);
}

char _license[] SEC("license") = "Dual MIT/GPL";
