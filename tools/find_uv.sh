#!/usr/bin/env bash
# Print the path of uv; install it where there is none: for the user by pip, else into an environment of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for candidate in "$(command -v uv || true)" .cache/uv-env/bin/uv "$HOME/.local/bin/uv"; do
  if [ -n "$candidate" ] && "$candidate" --version >/dev/null 2>&1; then
    echo "$candidate"
    exit 0
  fi
done

python=""
for candidate in python3.11 python3.12 python3.13 python3; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "No Python 3 was found. Install Python 3.11, then run this again." >&2
  exit 1
fi

mkdir -p .cache
log=.cache/uv-install.log
if "$python" -m venv .cache/uv-env >"$log" 2>&1 && .cache/uv-env/bin/pip install -q uv >>"$log" 2>&1; then
  echo .cache/uv-env/bin/uv
elif "$python" -m pip install -q --user uv >>"$log" 2>&1; then
  echo "$HOME/.local/bin/uv"
else
  echo "uv could not be installed: $(tail -n 1 "$log")" >&2
  echo "Is there a network? Install uv by hand (any way), then run this again. The log is $log." >&2
  exit 1
fi
