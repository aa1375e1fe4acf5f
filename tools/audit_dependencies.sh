#!/usr/bin/env bash
# Look the pinned dependencies up in the advisories of the Python Package Index, for known vulnerabilities.
#
#     tools/audit_dependencies.sh
#
# Uses pip-audit from the development environment of `make install-dev` (or $VENV). Exit code 1 where a pinned version
# has a known vulnerability, or the audit itself is broken; 0 where there is none, and where the advisories cannot be
# reached: that is said, and is no error.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${VENV:-$root/.venv}/bin/python
exec </dev/null

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# --no-deps: constraints.txt has the whole tree already
"$python" -m pip_audit --requirement "$root/constraints.txt" --no-deps --disable-pip --progress-spinner off \
    --format json --output "$work/report.json" 2>"$work/log" || true

if [ ! -s "$work/report.json" ]; then
    if grep -qiE "ConnectionError|Could not connect|network may be blocking|timed out|resolve" "$work/log"; then
        echo "offline: the advisories cannot be reached, and nothing was audited"
        exit 0
    fi
    cat "$work/log" >&2
    echo "pip-audit did not run" >&2
    exit 1
fi

"$python" - "$work/report.json" <<'END'
import json
import sys
from pathlib import Path

found = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["dependencies"]
audited = [entry for entry in found if "skip_reason" not in entry]
for entry in audited:
    for flaw in entry["vulns"]:
        fixed = ", ".join(flaw["fix_versions"]) or "no version yet"
        aliases = f" ({', '.join(flaw['aliases'])})" if flaw.get("aliases") else ""
        print(f"{entry['name']} {entry['version']}: {flaw['id']}{aliases}, fixed in {fixed}")
if not audited:
    print(f"the index in reach has no advisories: none of {len(found)} packages was audited")
else:
    vulnerable = sum(bool(entry["vulns"]) for entry in audited)
    print(f"{len(audited)} of {len(found)} packages audited, {vulnerable} with known vulnerabilities")
    sys.exit(vulnerable > 0)
END
