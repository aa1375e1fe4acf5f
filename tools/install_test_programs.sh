#!/usr/bin/env bash
# What tests need beside Python: Chromium for the web page, PostgreSQL's server for the gallery on it. Installed where
# this runs as root on Debian or one like it; the tests skip with a reason where a program is absent.
#
#     tools/install_test_programs.sh
set -euo pipefail

wanted=()
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || wanted+=(chromium)
command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || wanted+=(postgresql)

if [ ${#wanted[@]} = 0 ]; then
    echo "nothing to install"
elif [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not root on Debian: the tests that need ${wanted[*]} will skip"
else
    export DEBIAN_FRONTEND=noninteractive
    install=(apt-get install -y -q --no-install-recommends "${wanted[@]}")
    if "${install[@]}" >/dev/null 2>&1 || { apt-get update -q >/dev/null 2>&1 && "${install[@]}" >/dev/null 2>&1; }; then
        echo "installed ${wanted[*]}"
    else
        echo "apt-get could not install ${wanted[*]}: the tests that need them will skip"
    fi
fi
