#!/usr/bin/env bash
# ray 2.60.0: the priority of the processes that run tasks and actors.
#
# Expected: that of the program that started Ray, so that a program takes as long in a worker as beside it.
# Seen: workers have 15 added to their niceness. Where anything else runs on the cores (the driver's own threads, another
# job, a benchmark without Ray), a worker gets a thirtieth of a core's time beside it, and "two workers" are not two
# cores. A comparison with and without Ray has to set RAY_worker_niceness=0 where Ray is started.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ray==2.60.0
cat > "$folder/program.py" <<'PYTHON'
import os

import ray

ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=80_000_000, log_to_driver=False)
print(ray.get(ray.remote(lambda: os.nice(0)).remote()) - os.nice(0))
PYTHON
cd "$folder"
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled
unset RAY_worker_niceness
usual=$(venv/bin/python program.py 2> log.txt | tail -n 1)
zero=$(RAY_worker_niceness=0 venv/bin/python program.py 2> log.txt | tail -n 1)
echo "niceness added to workers: $usual; with RAY_worker_niceness=0: $zero"
if [ "$usual" != 15 ] || [ "$zero" != 0 ]; then
  echo "ray behaves differently now" >&2
  exit 1
fi
