#!/usr/bin/env bash
# build_env.sh FOLDER LOCK PYTHON: make an environment hold exactly what its lock says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$1 lock=$2 version=$3
uv=$(bash tools/find_uv.sh)

free_mb=$(df -Pm . | awk 'NR == 2 {print $4}')
if [ ! -x "$folder/bin/python" ] && [ "$free_mb" -lt 9000 ]; then
  echo "$free_mb MB are free here; the environments need 9000 MB. Free some space, then run this again." >&2
  exit 1
fi
[ -x "$folder/bin/python" ] || "$uv" venv -q --python "$version" "$folder" || {
  echo "No Python $version was found. Install it (any way uv can find), then run this again." >&2
  exit 1
}
echo "Building $folder from $lock (minutes the first time, seconds afterwards)"
"$uv" pip sync -q --python "$folder/bin/python" "$lock" || {
  echo "$folder is not complete: a package could not be fetched. Is there a network? Running this again goes on where it stopped." >&2
  exit 1
}
