#!/bin/sh
# After the package is installed: systemd reads the unit, and a Readmark that runs is
# started anew with the new program. Nothing is enabled: that is the operator's decision.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart readmark.service || true
fi
