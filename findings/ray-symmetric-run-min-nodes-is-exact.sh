#!/usr/bin/env bash
# ray 2.60.0, `ray symmetric-run --min-nodes 2`: start Ray on every node of an allocation, run a command on the first.
#
# Expected: the command starts once two nodes are there, or more.
# Seen: it starts only while exactly two are. With three nodes it waits ("3/2 nodes started"), gives up after 30 seconds
# and stops the cluster; the command never runs. Name the exact number of nodes, and where they start slowly, raise
# RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT.
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
port=$(python -c 'import socket; free = socket.socket(); free.bind(("", 0)); print(free.getsockname()[1])')
address=$(python -c 'import ray; print(ray.util.get_node_ip_address())'):$port
few="--num-cpus 1 --object-store-memory 80000000"
# Two other nodes come while the head starts: symmetric-run starts it with the first `ray` of the PATH.
mkdir quick
cat > quick/ray <<SCRIPT
#!/usr/bin/env bash
"$folder/venv/bin/ray" "\$@"
if [ "\${2:-}" = --head ]; then
  for node in 1 2; do "$folder/venv/bin/ray" start --address "$address" $few; done > nodes.txt 2>&1
fi
SCRIPT
chmod +x quick/ray
code=0
PATH="$folder/quick:$PATH" venv/bin/ray symmetric-run --address "$address" --min-nodes 2 $few --include-dashboard=false \
  -- touch ran > said.txt 2>&1 || code=$?
grep -E "nodes started|Timed out" said.txt || cat said.txt
echo "exit code $code; the command $([ -e ran ] && echo ran || echo 'did not run')"
if [ -e ran ] || ! grep -q "3/2 nodes started" said.txt; then
  echo "ray symmetric-run behaves differently now" >&2
  exit 1
fi
