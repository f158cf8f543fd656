#!/bin/sh
# Starts DTMS and then the other services; see docs/howto/start-order.md. All the work is done by the script beside it.
exec "${PYTHON:-python3}" "$(dirname "$0")/start_all_services.py" "$@"
