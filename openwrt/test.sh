#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# What the feeds' CI runs after the installation: test.sh PACKAGE VERSION
case $1 in
dae | dae-mini) dae --version | grep -F "$2" && dae check ;;
esac
