#!/bin/sh
# Before the package is removed, not before an upgrade. dpkg says "remove", rpm says 0.
# Settings and data stay.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now readmark.service || true
	fi
	;;
esac
