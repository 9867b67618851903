/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The kernel's helpers we call, by their number in enum bpf_func_id of <linux/bpf.h>,
 * so that no header of libbpf is needed.
 */
#ifndef DAE_HELPERS_H
#define DAE_HELPERS_H

#include <linux/bpf.h>
#include <linux/types.h>

#define SEC(name) __attribute__((section(name), used))
#undef __always_inline /* the kernel's header leaves it to the compiler's taste */
#define __always_inline inline __attribute__((always_inline))

/* The BTF form of a map definition: numbers are array sizes, types are pointees. */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) value *name

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Little endian only: the one byte order of our routers. */
#define bswap16(x) __builtin_bswap16(x)
#define bswap32(x) __builtin_bswap32(x)

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) =
	(void *)BPF_FUNC_map_update_elem;
static long (*const bpf_skb_load_bytes)(const void *skb, __u32 offset, void *to, __u32 len) =
	(void *)BPF_FUNC_skb_load_bytes;
static long (*const bpf_skb_pull_data)(struct __sk_buff *skb, __u32 len) = (void *)BPF_FUNC_skb_pull_data;
static struct bpf_sock *(*const bpf_skc_lookup_tcp)(void *ctx, struct bpf_sock_tuple *tuple, __u32 size,
						    __u64 netns, __u64 flags) =
	(void *)BPF_FUNC_skc_lookup_tcp;
static struct bpf_sock *(*const bpf_sk_lookup_tcp)(void *ctx, struct bpf_sock_tuple *tuple, __u32 size,
						   __u64 netns, __u64 flags) = (void *)BPF_FUNC_sk_lookup_tcp;
static struct bpf_sock *(*const bpf_sk_lookup_udp)(void *ctx, struct bpf_sock_tuple *tuple, __u32 size,
						   __u64 netns, __u64 flags) = (void *)BPF_FUNC_sk_lookup_udp;
static struct bpf_sock *(*const bpf_sk_fullsock)(struct bpf_sock *sk) = (void *)BPF_FUNC_sk_fullsock;
static long (*const bpf_sk_release)(void *sk) = (void *)BPF_FUNC_sk_release;
static long (*const bpf_sk_assign)(void *skb, void *sk, __u64 flags) = (void *)BPF_FUNC_sk_assign;

#endif
