/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The maps. Sizes marked "set at load" are the largest that the daemon asks for by default;
 * it sets the real ones from the rules and the configuration before it creates them.
 */
#ifndef DAE_MAPS_H
#define DAE_MAPS_H

#include "dae.h"
#include "helpers.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dae_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, struct dae_node);
} src4 SEC(".maps"), dst4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1); /* set at load */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct dae_net6);
	__type(value, __u32);
} src6 SEC(".maps"), dst6 SEC(".maps");

/* Addresses of which something is known: their names, or that they are the router's. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384); /* set at load */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct dae_addr);
	__type(value, __u32);
} hosts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set at load */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct dae_mac);
	__type(value, __u32);
} macs SEC(".maps");

/* Key: index of the device the packet came in by. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64); /* set at load */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} interfaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct dae_ports);
} src_ports SEC(".maps"), dst_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DAE_VECTORS);
	__type(key, __u32);
	__type(value, struct dae_vector);
} vectors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DAE_RULES + 1);
	__type(key, __u32);
	__type(value, struct dae_verdict);
} verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384); /* set at load */
	__type(key, struct dae_flow_key);
	__type(value, struct dae_flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DAE_COUNTERS);
	__type(key, __u32);
	__type(value, struct dae_counter);
} counters SEC(".maps");

#endif
