#!/usr/bin/env bash
# OpenVINO 2026.4.1: `import openvino` alone writes an identifier into the home folder and reports the import to a server, without
# having asked.
#
# Expected: an import sends and writes nothing. Seen with openvino 2026.4.1 and openvino-telemetry 2025.2.0, Python 3.11, x86-64 Linux:
# ~/intel/openvino_ga_cid is written, and a process is forked that opens a connection to www.google-analytics.com. Not where CI=true.
# `sys.modules["openvino_telemetry"] = None` before the import keeps both from happening: the library then takes its own stub.
# Below, both with an empty home folder; the proxy leads nowhere, so that nothing leaves this machine. Exits 1 if nothing is written.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1
export https_proxy=http://127.0.0.1:9 HTTPS_PROXY=http://127.0.0.1:9
unset CI TF_BUILD JENKINS_URL
mkdir "$folder/plain" "$folder/without"
HOME="$folder/plain" "$folder/venv/bin/python" -c "import openvino"
HOME="$folder/without" "$folder/venv/bin/python" -c "import sys; sys.modules['openvino_telemetry'] = None; import openvino"
for home in plain without; do
    echo "$home: $(cd "$folder/$home" && find . -type f | sort | tr '\n' ' ')"
done
[ -n "$(find "$folder/plain" -type f)" ]
