#!/bin/sh
# After the package is installed: systemd reads the units, and a Readmark that runs is
# started anew with the new program. Nothing is enabled: that is the operator's decision.
# A Readmark that does not start keeps the package from nothing, and is told.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart readmark.service ||
		echo "readmark is installed, and readmark.service does not start: journalctl -u readmark says why" >&2
fi
