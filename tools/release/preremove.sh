#!/bin/sh
# Before the package is removed, not before an upgrade. dpkg says "remove", rpm says 0.
# Settings and data stay. What cannot be stopped would go on without its program: the
# package stays then.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now readmark-partitions.timer readmark.service
	fi
	;;
esac
