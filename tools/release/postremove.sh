#!/bin/sh
# After the package is removed: systemd forgets the units.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
