# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Packages and feed indexes for opkg (ipk) and apk (adb), written without OpenWrt's SDK."""
