#!/usr/bin/env bash
# ray 2.60.0, `ray symmetric-run --address HOST:6379 -- COMMAND` where another program has the port, as Redis often does.
#
# Expected: an exit code other than 0, since the command did not run.
# Seen: "Failed to start Ray", and exit code 0: a batch system takes the job for completed. Look for what the command
# should have written, not for the exit code.
# It runs in a process namespace of its own, since symmetric-run ends with `ray stop`, which ends every Ray of a user.
set -eu
if [ -z "${INSIDE:-}" ]; then
  INSIDE=yes exec unshare --user --map-root-user --pid --fork --mount-proc "$0"
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "ray[default]==2.60.0"
PATH="$folder/venv/bin:$PATH"
cd "$folder"
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled
python - <<'PYTHON' &
import socket, time
from pathlib import Path

other = socket.create_server(("127.0.0.1", 0))
Path("port.part").write_text(str(other.getsockname()[1]))
Path("port.part").rename("port")
time.sleep(300)
PYTHON
other=$!
until [ -e port ]; do sleep 0.1; done
code=0
ray symmetric-run --address "127.0.0.1:$(cat port)" --num-cpus 1 -- touch ran > said.txt 2>&1 || code=$?
kill "$other"
grep "Failed to start Ray" said.txt | cut -c1-60 || cat said.txt
echo "exit code $code; the command $([ -e ran ] && echo ran || echo 'did not run')"
if [ "$code" != 0 ] || [ -e ran ]; then
  echo "ray symmetric-run behaves differently now" >&2
  exit 1
fi
