# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Readers of packages, that share nothing with what writes them."""
