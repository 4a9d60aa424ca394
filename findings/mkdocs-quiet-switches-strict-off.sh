#!/usr/bin/env bash
# mkdocs 1.6.1, `mkdocs build --strict --quiet`: a build that is to fail on warnings.
#
# Expected: --quiet changes what is printed, and --strict still fails where a page links to one that does not exist.
# Seen: with --quiet nothing is counted, so the broken link passes with exit code 0; without it the same build fails.
# A check in continuous integration that was made quiet checks nothing.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mkdocs==1.6.1
mkdir "$folder/docs"
printf 'site_name: trial\n' > "$folder/mkdocs.yml"
printf '# Home\n\nSee [the other page](other.md).\n' > "$folder/docs/index.md"
cd "$folder"
strict=0
venv/bin/mkdocs build --strict > said.txt 2>&1 || strict=$?
quiet=0
venv/bin/mkdocs build --strict --quiet > said-quietly.txt 2>&1 || quiet=$?
echo "strict: exit code $strict; strict and quiet: exit code $quiet"
if [ "$strict" = 0 ] || [ "$quiet" != 0 ]; then
  echo "mkdocs behaves differently now" >&2
  exit 1
fi
