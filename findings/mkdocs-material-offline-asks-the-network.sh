#!/usr/bin/env bash
# mkdocs-material 9.8.2, plugin `offline`: a site that is read from a disk, without a network.
#
# Expected: with `plugins: [search, offline]`, no built page asks another computer for anything.
# Seen: every page asks unpkg.com for a script, iframe-worker, which stands in for workers where a page is read from a disk.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mkdocs==1.6.1 mkdocs-material==9.8.2
mkdir "$folder/docs"
cat > "$folder/mkdocs.yml" <<'YAML'
site_name: trial
theme: {name: material, font: false}
plugins: [search, offline]
YAML
printf '# Home\n\nA page.\n' > "$folder/docs/index.md"
cd "$folder"
venv/bin/mkdocs build > said.txt 2>&1
found=$(grep -o 'src="*https://[^" >]*' site/index.html || true)
echo "scripts from elsewhere: ${found:-none}"
case "$found" in
  *unpkg.com*) ;;
  *) echo "mkdocs-material behaves differently now" >&2; exit 1 ;;
esac
