#!/usr/bin/env bash
# Compile the three locks again from requirements/*.in. dev.txt first: the image's lock takes the same versions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
uv=$(bash tools/find_uv.sh)
compile=("$uv" pip compile -q --generate-hashes --no-emit-index-url --no-header --python-version 3.11)
"${compile[@]}" requirements/labelstudio.in -o requirements/labelstudio.txt
"${compile[@]}" requirements/dev.in --override requirements/overrides.txt -o requirements/dev.txt
"${compile[@]}" requirements/geolabel.in --override requirements/overrides.txt -c requirements/dev.txt -o requirements/geolabel.txt
