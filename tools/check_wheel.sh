#!/usr/bin/env bash
# Build the distribution and try it as a user gets it: installed without extras, in a clean environment, in a folder
# outside the tree.
#
#     tools/check_wheel.sh
#
# Builds with the development environment of `make install-dev` (or $VENV). PIP's settings are respected.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
builder=${VENV:-$root/.venv}/bin/python
exec </dev/null

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { printf -- '--- %s\n' "$*"; }

say "building: source distribution, and the wheel from it"
"$builder" -m build --outdir "$work/dist" "$root" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
wheel=$(echo "$work"/dist/openkith-*-py3-none-any.whl)
[ -f "$wheel" ] || { echo "no wheel in: $(ls "$work/dist")"; exit 1; }

say "installing $(basename "$wheel") without extras in a clean environment"
"$builder" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --disable-pip-version-check install -q -c "$root/constraints.txt" torch "$wheel"
"$work/venv/bin/python" -m pip check

# From here on nothing of the tree or of the user is in reach.
mkdir "$work/away" "$work/home"
cd "$work/away"
unset PYTHONPATH VIRTUAL_ENV KITH_GALLERY KITH_MODELS
export HOME="$work/home" XDG_CACHE_HOME="$work/home/.cache" XDG_DATA_HOME="$work/home/.local/share"
export PATH="$work/venv/bin:$PATH"

say "what is installed"
python -I "$root/tools/check_installed.py" "$root/src/openkith"

say "kith doctor"
kith doctor
kith doctor --json | python -c 'import json, sys; assert json.load(sys.stdin)["healthy"]'

say "enrol and identify"
python -I "$root/tools/check_installed.py" --hum hum-1.wav hum-2.wav hum-3.wav
kith enroll hum hum-1.wav hum-2.wav
kith identify hum-3.wav
