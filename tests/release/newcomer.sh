#!/usr/bin/env bash
# A newcomer's way from a wheel to a board with a dictionary and a task of their own, timed: `make newcomer`.
#
# usage: newcomer.sh WHEEL [PYTHON]. Everything happens in a new folder with a home, a cache and an environment of its own,
# away from the repository, and is removed at the end. Prints the seconds of each command as a Markdown table.
set -euo pipefail
wheel=$(realpath "$1")
python=${2:-python3}
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir home
export HOME=$folder/home PATH=$folder/env/bin:$PATH
unset PYTHONPATH HARNESS_DATA_DIR HARNESS_CACHE_DIR HF_HUB_OFFLINE HF_HOME
table=$'| command | seconds |\n|---|---|'

timed() {
  local began=$EPOCHREALTIME
  "$@" > log 2>&1 || { tail -20 log >&2; echo "failed: $*" >&2; exit 1; }
  tail -3 log >&2
  table+=$(printf '\n| `%s` | %.1f |' "${*//"$wheel"/WHEEL}" "$(echo "$EPOCHREALTIME - $began" | tr , . | python3 -c 'print(eval(input()))')")
}

python3 "$here/newcomer_files.py"  # texts/, reviews.csv and reviews.yaml, which the newcomer brings
timed "$python" -m venv env
timed pip install "$wheel"
timed harness doctor
timed harness train-dictionary -m minigemma-s --site resid_post.50% --architecture tied --width 4x --tokens 60000 \
  --data texts -o my-sae
timed harness plan quickstart --include reviews.yaml -t my_reviews -m minigemma-s \
  --set 'models.0.representations=[./my-sae]'
timed harness run quickstart --include reviews.yaml -t my_reviews -m minigemma-s \
  --set 'models.0.representations=[./my-sae]' -o mine
timed harness validate mine --include reviews.yaml
timed harness leaderboard publish mine -o board
timed harness leaderboard check board
grep -q my-sae board/leaderboard.md && grep -q my_reviews board/leaderboard.html
echo "$table"
