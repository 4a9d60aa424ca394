#!/usr/bin/env bash
# ray 2.60.0, ray.init() in a program that handles SIGTERM, as batch systems send it before they end a job.
#
# Expected: a handler that the program has set stays, or is called, or ray.shutdown() puts it back.
# Seen: it is replaced, nothing is said, and ray.shutdown() leaves the replacement. A SIGTERM then ends the program without
# a call of the handler: what it would have saved is not saved, and the exit code is another one. Install handlers after
# ray.init(), or start Ray in a thread or a process of its own.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ray==2.60.0
cd "$folder"
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled
code=0
venv/bin/python - > said.txt 2> log.txt <<'PYTHON' || code=$?
import os
import signal
import sys

import ray


def save(number: int, frame: object) -> None:
    print("saved", flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, save)
ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=80_000_000, log_to_driver=False)
ray.shutdown()
print("shut down:", signal.getsignal(signal.SIGTERM) is save, flush=True)
os.kill(os.getpid(), signal.SIGTERM)
PYTHON
cat said.txt
echo "exit code $code"
if [ "$(grep -c saved said.txt)" != 0 ] || [ "$code" = 0 ] || ! grep -q "shut down: False" said.txt; then
  echo "ray behaves differently now" >&2
  exit 1
fi
