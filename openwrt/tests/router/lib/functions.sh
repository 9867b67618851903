#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=dash disable=SC1091,SC2034 # files of the router, a value for eval
#
# Reading of UCI for the tests, from lines of /state/uci such as: dae.main.interface='lan guest'

# Applets that a router does not have.
. /lib/denied.sh

# Whole seconds only, and none of them are spent.
sleep() {
	case $1 in
	*[!0-9]*) echo "sleep: invalid number '$1'" >&2 && return 1 ;;
	esac
	echo "sleep $1" >>/record
}

logger() {
	local line
	if [ "$1 $2 $3 $4" = '-t dae -p daemon.err' ]; then shift 4; else shift 2; fi
	if [ $# -gt 0 ]; then
		echo "log: $*" >>/record
		return
	fi
	while read -r line; do
		echo "log: $line" >>/record
	done
}

config_load() { config=$1; }
config_get() {
	local value
	value=$(uci -q get "$config.$2.$3") || value=$4
	eval "$1=\$value"
}
config_get_bool() {
	config_get "$@"
	eval "case \$$1 in 1|on|true|yes|enabled) $1=1 ;; *) $1=0 ;; esac"
}
